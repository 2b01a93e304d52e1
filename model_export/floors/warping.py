"""Dynamic time warping (Sakoe & Chiba 1978), and rows of numbers as far apart as given distances.

Warping compares sequences, not vectors; as rows, its distances pass through the code that measures encoders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]
Sequence2d = npt.NDArray[np.float32]

CELLS_AT_ONCE = 60_000
"""Cells of a diagonal, over all others, that are computed at once: what the caches hold."""


def warp_distances(one: Sequence2d, others: Sequence[Sequence2d]) -> Real:
    """Distance of one sequence (steps, channels) to each of the others (any steps, channels): float64 (others,).

    Squared Euclidean cost of steps, summed over the best path without a band, over the sum of both lengths.
    """
    most = max(1, CELLS_AT_ONCE // len(one))
    parts = [_warp(one, others[at : at + most]) for at in range(0, len(others), most)]
    return np.concatenate(parts)


def warp_all(sequences: Sequence[Sequence2d]) -> Real:
    """Distances of all to all: symmetric float64 (n, n), 0 on the diagonal."""
    distances = np.zeros((len(sequences), len(sequences)))
    for at in range(len(sequences) - 1):
        distances[at, at + 1 :] = warp_distances(sequences[at], sequences[at + 1 :])
    return distances + distances.T


def rows_apart(distances: Real) -> npt.NDArray[np.float32]:
    """Rows whose squared Euclidean distances are the given ones plus one constant: (n, n) -> float32 (n, n).

    Their order, and so every error rate, is kept: the constant-shift embedding of Roth et al. 2003. Without the shift
    distances that break the triangle inequality have no rows.
    """
    centred = distances - distances.mean(axis=0)
    centred = -(centred - centred.mean(axis=1, keepdims=True)) / 2
    values, vectors = np.linalg.eigh(centred)
    shifted: npt.NDArray[np.float32] = (vectors * np.sqrt(values - values[0])).astype(np.float32)
    return shifted


def _warp(one: Sequence2d, others: Sequence[Sequence2d]) -> Real:
    """The same by diagonals of the table of steps, whose cells depend on the two diagonals before only."""
    steps, lengths = len(one), np.array([len(other) for other in others])
    longest = int(lengths.max())
    left, right = one.astype(np.float64), np.zeros((longest, len(others), one.shape[1]))
    for place, other in enumerate(others):
        right[longest - len(other) :, place] = other[::-1]  # backwards, so that a diagonal is a slice of both
    left_squares, right_squares = np.square(left).sum(axis=1)[:, np.newaxis], np.square(right).sum(axis=2)
    # Row i + 1 of a buffer is step i of `one`; what lies outside the table is infinite.
    before, last, now = (np.full((steps + 1, len(others)), np.inf) for _ in range(3))
    before[0] = 0.0
    result = np.empty(len(others))
    for at in range(steps + longest - 1):
        low, high = max(0, at - longest + 1), min(steps, at + 1)
        mine, theirs = slice(low, high), slice(longest - 1 - at + low, longest - 1 - at + high)
        cells = now[low + 1 : high + 1]
        np.minimum(last[low + 1 : high + 1], last[mine], out=cells)
        np.minimum(cells, before[mine], out=cells)
        if left.shape[1] == 1:
            cells += np.square(right[theirs, :, 0] - left[mine])
        else:  # as a product: the differences of many channels would be many times the memory
            products = (right[theirs] @ left[mine, :, np.newaxis])[..., 0]
            cells += np.maximum(left_squares[mine] + right_squares[theirs] - 2.0 * products, 0.0)
        now[low] = np.inf
        ended = lengths - 1 + steps - 1 == at
        result[ended] = now[steps, ended]
        before, last, now = last, now, before
    ratio: Real = result / (steps + lengths)
    return ratio
