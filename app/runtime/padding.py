"""Padding cut to a batch's longest window: whether a graph allows it, and what it then costs.

Whether is shown on the golden items at load, never taken on trust.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from statistics import median

import numpy as np

from app.core.bundle import CPU, Bundle
from app.core.errors import TwinserveError
from app.core.modalities.base import Limits, Ragged, Window
from app.core.scoring import GUARD_BAND_FLOORS
from app.runtime.encoder import Encoder, Rows
from app.runtime.runs import MOST_WINDOWS, Run, Trimming, speed

logger = logging.getLogger(__name__)

SHARE_OF_GUARD_BAND = 1 / 8
"""How far, of the guard band, cutting padding may move an embedding. A score then moves by a quarter of the band at
most, since both embeddings may move; that much the band allows to any way of batching."""
BULK_S = 0.5
"""Where nobody waits: the seconds that a run may take at most which is measured before the first item, of a large model
too."""
FURTHER_LENGTHS = 16
"""Lengths in a row that are tried: a graph may take steps in blocks only, of eight or sixteen."""


def trimmable(encoder: Encoder) -> Ragged | None:
    """The encoder's modality where its padding is cut: on CPU, where it can be and the graph was shown not to mind.

    A graph that minds is told in the log. A GPU keeps to shapes that were warmed: it picks kernels for each, and holds
    buffers.
    """
    if encoder.provider != CPU or not isinstance(encoder.modality, Ragged):
        return None
    if (reason := padding_matters(encoder, encoder.modality)) is not None:
        logger.warning("%s: inputs are padded to the bundle's lengths: %s", encoder.bundle.key, reason)
        return None
    return encoder.modality


def padding_matters(encoder: Encoder, modality: Ragged) -> str | None:
    """Why padding may not be cut to a batch's longest window, in one line; None where it was shown that it may.

    The golden items' windows are embedded without padding, together, and the shortest at many lengths, and compared
    with what they give padded to their buckets, as they were calibrated.
    """
    longest = max(modality.length(window) for window in modality.examples())
    prepared = [encoder.prepare(item, Limits()) for item in encoder.bundle.golden.items]
    windows = [window for item in prepared for window in item.windows if modality.length(window) < longest]
    if not windows:
        return "no golden item is padded, so that nothing shows what padding does"
    place, least = min(enumerate(map(modality.length, windows)), key=lambda one: one[1])
    further = [windows[place]] * min(longest - least, FURTHER_LENGTHS)
    try:
        padded = encoder.encode(windows)
        moved = max(
            _distance(encoder.encode(windows, cut=partial(_alone, modality)), padded),
            _distance(encoder.encode(windows, cut=partial(_together, modality)), padded),
            _distance(encoder.encode(further, cut=partial(_further, modality)), padded[place]),
        )
    except TwinserveError as error:
        return f"the graph does not take every length: {error.detail}"
    allowed = SHARE_OF_GUARD_BAND * _guard_band(encoder.bundle)
    return None if moved <= allowed else f"padding moves embeddings by {moved:.3g}, allowed is {allowed:.3g}"


def measured_trimming(
    modality: Ragged, taken: Mapping[Hashable, Mapping[int, float]], largest: Mapping[Hashable, int], batch_s: float
) -> Trimming:
    """How to cut runs, from the seconds that each bucket took by size, and its largest size within `batch_s`."""
    full = {modality.bucket(window): modality.length(window) for window in modality.examples()}
    step_s = median(taken[bucket][size] / size / full[bucket] for bucket, size in largest.items())
    beside = []
    for bucket, size in largest.items():
        alone, together = taken[bucket][1], taken[bucket][size]
        if size > 1 and together > alone:
            window_s = (together - alone) / (size - 1)
            beside.append(max(0.0, alone / window_s - 1) * full[bucket])
    return Trimming(modality, full, run_steps=median(beside) if beside else 0.0, most_steps=batch_s / step_s)


def serving_trimming(modality: Ragged, taken: Mapping[Hashable, Mapping[int, float]], batch_s: float) -> Trimming:
    """How a service whose batches take at most `batch_s` cuts runs, from what its start measured."""
    largest = {bucket: speed(sizes, batch_s).largest for bucket, sizes in taken.items()}
    return measured_trimming(modality, taken, largest, batch_s)


def bulk_trimming(encoder: Encoder) -> Trimming | None:
    """How to cut runs where nobody waits for a single one; None where padding is not cut.

    Only the shortest bucket is measured, where what a run costs by itself shows most: with many windows to choose from
    runs hold equals, whatever it is, and a process has little to do before it begins. No run has more steps than the
    largest that was measured: what it costs by itself is nothing then, and what exceeds a CPU's caches is slower.
    """
    modality = trimmable(encoder)
    if modality is None:
        return None
    shortest = min(modality.examples(), key=modality.length)
    [(bucket, taken)] = encoder.warm(limit_s=BULK_S, examples=[shortest]).items()
    largest = speed(taken, BULK_S).largest
    return measured_trimming(modality, {bucket: taken}, {bucket: largest}, batch_s=taken[largest])


def _distance(rows: Rows, others: Rows) -> float:
    """The largest Euclidean distance between rows."""
    return float(np.linalg.norm(rows - others, axis=1).max())


def _alone(modality: Ragged, windows: Sequence[Window]) -> list[Run]:
    return [
        Run([place], partial(modality.collate_to, length=modality.length(window)))
        for place, window in enumerate(windows)
    ]


def _together(modality: Ragged, windows: Sequence[Window]) -> list[Run]:
    longest = max(map(modality.length, windows))
    starts = range(0, len(windows), MOST_WINDOWS)
    return [
        Run(list(range(start, min(start + MOST_WINDOWS, len(windows)))), partial(modality.collate_to, length=longest))
        for start in starts
    ]


def _further(modality: Ragged, windows: Sequence[Window]) -> list[Run]:
    """Each of these equal windows with one step of padding more than the one before."""
    least = modality.length(windows[0])
    return [Run([place], partial(modality.collate_to, length=least + place + 1)) for place in range(len(windows))]


def _guard_band(bundle: Bundle) -> float:
    floor = GUARD_BAND_FLOORS[bundle.manifest.graph.precision]
    return floor if bundle.calibration is None else max(floor, bundle.calibration.guard_band)
