"""What a graph takes and costs: opset, inputs, bytes, and milliseconds an item beside another precision's."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from statistics import median

import onnx

from app.core.bundle import Bundle
from app.core.modalities.base import Limits, Window
from app.runtime.encoder import LADDER, Encoder
from model_export.graphs import describe_value
from model_export.report import Table

BATCHES = (1, LADDER[0])
ROUNDS = 9
ROUND_SECONDS = 0.05
"""Least time that one measurement takes: shorter ones measure the clock and the neighbours."""


def describe_graph(bundle: Bundle) -> str:
    """One line: opset, each input with its dtype and shape, the output."""
    model = onnx.load_from_string(bundle.graph)
    inputs = ", ".join(describe_value(value) for value in model.graph.input)
    outputs = ", ".join(describe_value(value) for value in model.graph.output)
    manifest = bundle.manifest
    return f"{manifest.graph.precision}: opset {manifest.graph.opset}; takes {inputs}; gives {outputs}"


def cost_table(encoders: Sequence[Encoder]) -> Table:
    """Size and time of each encoder, on its own thread count; the first is what the others are compared with.

    Times are medians over ROUNDS, in which the encoders take turns, so that a neighbour's load falls on all of them.
    """
    first = encoders[0]
    windows = _usual_windows(first)
    times = {size: _times(encoders, windows, size) for size in BATCHES}
    header = ("precision", "MB", *(f"ms an item, {size} at a time" for size in BATCHES))
    rows = []
    for place, encoder in enumerate(encoders):
        size = len(encoder.bundle.graph) + len(encoder.bundle.external_data or b"")
        cells = []
        for batch in BATCHES:
            own, reference = times[batch][place], times[batch][0]
            cells.append(f"{own:.3f}" + (f" ({own / reference:.2f} x fp32)" if place else ""))
        rows.append((encoder.bundle.manifest.graph.precision, f"{size / 1e6:.2f}", *cells))
    return "Size and speed, on one thread", [header, *rows]


def _usual_windows(encoder: Encoder) -> list[Window]:
    """Windows of the golden items' commonest bucket, as many as the largest batch."""
    buckets: defaultdict[Hashable, list[Window]] = defaultdict(list)
    for item in encoder.bundle.golden.items:
        for window in encoder.prepare(item, Limits()).windows:
            buckets[encoder.modality.bucket(window)].append(window)
    (bucket, _), *_ = Counter({name: len(windows) for name, windows in buckets.items()}).most_common(1)
    return [buckets[bucket][place % len(buckets[bucket])] for place in range(max(BATCHES))]


def _times(encoders: Sequence[Encoder], windows: Sequence[Window], size: int) -> Mapping[int, float]:
    """Milliseconds an item of each encoder, by its place, in batches of `size`."""
    repeats = []
    for encoder in encoders:
        _run(encoder, windows, size, 1)  # the first run of a shape plans memory
        repeats.append(max(1, round(ROUND_SECONDS / _run(encoder, windows, size, 1))))
    seen: dict[int, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for place, encoder in enumerate(encoders):
            seconds = _run(encoder, windows, size, repeats[place])
            seen[place].append(1000 * seconds / repeats[place] / size)
    return {place: median(values) for place, values in seen.items()}


def _run(encoder: Encoder, windows: Sequence[Window], size: int, repeats: int) -> float:
    batch = windows[:size]
    began = time.perf_counter()
    for _ in range(repeats):
        encoder.encode(batch, largest=size)
    return time.perf_counter() - began
