"""A picture of latency against load. Needs matplotlib, which the service does not: without it there is no picture."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts.latency import Point


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def plot_latency(points: Sequence[Point], path: Path) -> None:
    """Draw median and 99th percentile of each subject against the rate offered, and save it."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (see can_plot)
    from matplotlib.ticker import StrMethodFormatter  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, subject in enumerate(dict.fromkeys(one.subject for one in points)):
        own = sorted((one for one in points if one.subject == subject), key=lambda one: one.offered)
        offered = [one.offered for one in own]
        for style, label, values in (
            ("-", "p50", [_drawn(one.p50_ms) for one in own]),
            ("--", "p99", [_drawn(one.p99_ms) for one in own]),
        ):
            axes.plot(offered, values, style, marker="o", color=f"C{number}", label=f"{subject}, {label}")
    axes.set(xlabel="requests offered a second (open loop, Poisson)", ylabel="latency, ms", yscale="log")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted(StrMethodFormatter("{x:g}"))
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _drawn(value: float | None) -> float:
    """Nothing is drawn where nothing was answered."""
    return math.nan if value is None else value
