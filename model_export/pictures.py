"""Drawings of what was measured, as PNG: DET curve, histogram, reliability diagram, robustness curves.

Axes stand where they are told, and ticks are few: letting matplotlib lay out logarithmic axes takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import groupby
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from app.core.evidence import GenuineScores, PairScores
from app.core.evidence.binning import histogram
from app.core.evidence.bounds import bound_fmr, bound_fnmr
from app.core.evidence.calibration import ScoreHistogram
from model_export.calibration_loss import Loss
from model_export.comparing import Scores
from model_export.figures import ALL, Float64, Sampled
from model_export.robustness.measuring import Worn

TITLE_AT = 1.01
"""Above the axes; where it is not told, every tick is measured to find a place."""
Points = Sequence[Mapping[str, Any]]
"""Operating points as /models and describe_points give them."""


def draw_det(measured: Sampled, points: Points) -> bytes:
    """Detection error trade-off (Martin et al. 1997) on logarithmic axes: FMR bounds shaded, operating points
    marked, dotted below 3 / unit pairs, where nothing is claimed.
    """
    figure, axes = _axes(6, 5)
    genuine = measured.kinds[ALL][1]
    fnmr, knots = bound_fnmr(genuine).value, genuine.knots
    for name, (_, sample) in measured.impostors.items():
        fmr = bound_fmr(sample)
        (line,) = axes.plot(fmr.value, fnmr, ":")
        supported = fmr.value >= 3 / sample.rows
        axes.plot(fmr.value[supported], fnmr[supported], color=line.get_color(), label=f"{name} impostors")
        axes.fill_betweenx(fnmr, fmr.low, fmr.high, color=line.get_color(), alpha=0.15)
        for point in points:
            if point["impostor"] == name:
                at = _at(knots, fmr.value, fnmr, point["threshold"])
                axes.plot(*at, "s" if point["default"] else "o", color=line.get_color())
                place = (4, -9) if point["name"] == "eer" else (4, 4)  # it often lies beside a named point
                axes.annotate(point["name"], at, fontsize=7, xytext=place, textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlim=(1e-5, 1), ylim=(1e-4, 1))
    axes.set_title("Detection error trade-off", y=TITLE_AT)
    axes.set(xlabel="false match rate (FMR)", ylabel="false non-match rate (FNMR)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return _png(figure)


def draw_histogram(test: Scores, points: Points) -> bytes:
    """Shares of genuine and impostor scores of what was measured, with the default threshold."""
    shown: dict[str, GenuineScores | PairScores] = {"genuine": test.genuine, **test.impostors}
    # a little wider than the scores, so that none falls outside, and neither end is the other where all are equal
    low, high = (float(end([end(one.score) for one in shown.values()])) for end in (np.min, np.max))
    edges = np.linspace(low - 1e-3, high + 1e-3, 60).tolist()
    return _draw_shares(edges, {name: histogram(scores, edges) for name, scores in shown.items()}, points)


def draw_stored(stored: ScoreHistogram, points: Points) -> bytes:
    """The same of the histogram that the evidence holds, where genuine pairs were estimated or are not known."""
    shown = {"genuine": stored.genuine, **stored.impostor}
    return _draw_shares(stored.edges, {name: row for name, row in shown.items() if any(row)}, points)


def _draw_shares(edges: Sequence[float], shares: Mapping[str, Sequence[float]], points: Points) -> bytes:
    figure, axes = _axes(6, 4)
    for name, row in shares.items():
        axes.stairs(row, edges, label=name, fill=True, alpha=0.45)
    for point in points:
        if point["default"]:
            label = f"default: {point['name']}, {point['impostor']}"
            axes.axvline(point["threshold"], color="black", linestyle="--", label=label)
    axes.set(xlabel="similarity", ylabel="share of comparisons", ylim=(0, 1.25 * axes.get_ylim()[1]))
    axes.set_title("Scores", y=TITLE_AT)
    axes.legend(loc="upper center", ncols=2, fontsize=8)  # above the bars
    return _png(figure)


def draw_reliability(losses: Mapping[str, Loss]) -> bytes:
    """Observed share of genuine pairs by calibrated posterior at a prior of one half, the pairs of each bin told."""
    figure, axes = _axes(6, 5)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    drawn = {name: loss.reliability for name, loss in losses.items() if loss.reliability is not None}
    for turn, (name, one) in enumerate(drawn.items()):
        bounded = (one.low > 0) | (one.high < 1)  # bars from 0 to 1 say nothing, and would cover the others
        spread = np.where(bounded, np.stack([one.observed - one.low, one.high - one.observed]), 0.0)
        (line, *_) = axes.errorbar(one.posterior, one.observed, spread, marker="o", capsize=2, label=name)
        for x, y, pairs in zip(one.posterior, one.observed, one.pairs, strict=True):
            place, side = ((4, -9), "left") if turn % 2 == 0 else ((-4, 4), "right")
            axes.annotate(f"{pairs:,}", (x, y), fontsize=6, xytext=place, ha=side, textcoords="offset points")
        line.set_linewidth(1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title("Reliability; numbers are pairs", y=TITLE_AT)
    axes.set(xlabel="posterior from the log-likelihood ratio, prior one half", ylabel="observed share of genuine pairs")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return _png(figure)


def draw_robustness(curves: Mapping[str, Sequence[Worn]]) -> bytes:
    """EER by strength of each change, one line a subject with its bounds; the share refused is dotted."""
    subjects = {
        key: {name: list(group) for name, group in groupby(worn, lambda one: one.change)}
        for key, worn in curves.items()
    }
    changes = list(next(iter(subjects.values())))
    columns = 2
    rows = -(-len(changes) // columns)
    figure = Figure(figsize=(9, 3 * rows))
    figure.subplots_adjust(left=0.07, right=0.98, top=0.93, bottom=0.12 / rows + 0.04, hspace=0.5)
    for place, change in enumerate(changes):
        axes = figure.add_subplot(rows, columns, place + 1)
        for key, by_change in subjects.items():
            _draw_worn(axes, key, by_change[change])
        axes.set_title(change, y=TITLE_AT)
        axes.set(ylim=(0, 1), xlabel=subjects[next(iter(subjects))][change][0].unit, ylabel="EER")
        axes.grid(alpha=0.3)
        if place == 0:
            axes.legend(fontsize=7, loc="upper left")
    return _png(figure)


def _draw_worn(axes: Axes, key: str, worn: Sequence[Worn]) -> None:
    known = [(place, one.eer) for place, one in enumerate(worn) if one.eer is not None]
    places = [place for place, _ in known]
    (line,) = axes.plot(places, [eer.value for _, eer in known], marker="o", markersize=3, label=key)
    low, high = [eer.low for _, eer in known], [eer.high for _, eer in known]
    if (low, high) != ([0.0] * len(known), [1.0] * len(known)):  # bounds that say nothing would cover the lines
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15)
    refused = [one.refused for one in worn]
    if any(refused):
        axes.plot(range(len(worn)), refused, ":", color=line.get_color(), label=f"{key}: refused")
    axes.set_xticks(range(len(worn)), ["as it is" if one.strength is None else f"{one.strength:g}" for one in worn])


def _at(knots: np.ndarray[Any, Any], fmr: Float64, fnmr: Float64, threshold: float) -> tuple[float, float]:
    """FMR and FNMR at a threshold; see app.core.evidence.curves for the side that each takes between knots."""
    level = np.float32(threshold)
    below, above = np.searchsorted(knots, level, side="right") - 1, np.searchsorted(knots, level, side="left")
    return (
        float(fmr[below]) if below >= 0 else 1.0,
        float(fnmr[above]) if above < len(knots) else 1.0,
    )


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    return figure, figure.add_axes((0.12, 0.13, 0.85, 0.79))


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
