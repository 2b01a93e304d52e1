"""Arithmetic on embeddings and scores: similarity, aggregation, pooling, ratio, posterior, verdict. No rates, no files.

A score is a similarity: higher is always more alike, and the comparator is `>=`. Sums are taken in float64, clipped
to the metric's range and rounded once to float32, the precision in which every verdict is decided.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from app.core.errors import UnusableInput

Metric = Literal["cosine", "euclidean"]
Aggregation = Literal["single", "max", "mean"]
Verdict = Literal["match", "no_match", "undetermined"]
Float32 = npt.NDArray[np.float32]
_Float64 = npt.NDArray[np.float64]
_Real = npt.NDArray[Any]

GUARD_BAND_FLOORS = {"fp32": 1e-5, "fp16": 1e-3, "int8": 1e-3}
"""The least guard band of a graph, by its precision; measuring can only widen it."""

ZERO = "an embedding is zero and has no direction; send the item again or leave it out"
_UNIT_ROUNDOFF = 2.0**-53
_ROW_BLOCK = 256


def similarity(a: _Real, b: _Real, metric: Metric) -> np.float32:
    """The score of two embeddings, each (d,): cosine in [-1, 1], or 0.0 minus the Euclidean distance.

    Symmetric bit for bit; an embedding with itself scores exactly 1.0 (cosine) or 0.0 (Euclidean, never -0.0).
    Raises UnusableInput for an embedding that is not finite, or is zero where the metric is cosine; ValueError for
    shapes that do not fit.
    """
    return compare(a, b, metric)[0]


def euclidean_distance(a: _Real, b: _Real) -> np.float32:
    """The Euclidean distance of two embeddings, each (d,), reported beside every score. Errors as in similarity."""
    left, right = _rows(a, 1), _rows(b, 1)
    _same_length(left, right)
    return np.float32(_distances(left, right))


def compare(a: _Real, b: _Real, metric: Metric) -> tuple[np.float32, np.float32]:
    """`similarity` and `euclidean_distance` of two embeddings at once, bit for bit. Errors as in similarity."""
    # sums as of many rows below; the rest on Python's floats, which round as numpy's do, in a tenth of the time
    left, left_square = _row(a)
    right, right_square = _row(b)
    _same_length(left, right)
    difference = left - right
    distance = np.float32(math.sqrt(_sum(difference * difference)))
    if metric == "euclidean":
        return np.float32(0.0) - distance, distance
    if left_square == 0.0 or right_square == 0.0:
        raise UnusableInput(ZERO)
    cosine = _sum(left * right) / math.sqrt(left_square * right_square)
    return np.float32(min(max(cosine, -1.0), 1.0)), distance


def similarity_matrix(a: _Real, b: _Real, metric: Metric) -> Float32:
    """All scores of (n, d) against (m, d): float32 (n, m), equal bit for bit to `similarity` of each pair.

    A matrix product gives the sums; where its rounding error (Higham 2002, section 3.1) could reach another float32,
    the pair is summed again as `similarity` sums it, so that no entry depends on its neighbours or their order.
    Errors as in similarity.
    """
    left, right = _rows(a, 2), _rows(b, 2)
    _same_length(left, right)
    cosine = metric == "cosine"
    left_squares, right_squares = _squares(left, nonzero=cosine), _squares(right, nonzero=cosine)
    scores = np.empty((len(left), len(right)), dtype=np.float32)
    slack = 4.0 * (left.shape[1] + 4) * _UNIT_ROUNDOFF
    for start in range(0, len(left), _ROW_BLOCK):
        rows = slice(start, start + _ROW_BLOCK)
        products = left[rows] @ right.T
        if cosine:
            exact = products / np.sqrt(left_squares[rows, np.newaxis] * right_squares)
            below, above = (np.clip(exact + sign * slack, -1.0, 1.0).astype(np.float32) for sign in (-1, 1))
        else:
            sums = left_squares[rows, np.newaxis] + right_squares
            squares = sums - 2.0 * products
            below, above = (
                np.float32(0.0) - np.sqrt(np.maximum(squares + sign * slack * sums, 0.0)).astype(np.float32)
                for sign in (1, -1)
            )
        block = scores[rows]
        block[...] = below
        i, j = np.nonzero(below != above)
        for part in np.array_split(np.arange(len(i)), 1 + len(i) // 65536):
            x, y = left[rows][i[part]], right[j[part]]
            if cosine:
                block[i[part], j[part]] = _cosines(x, y, left_squares[rows][i[part]], right_squares[j[part]])
            else:
                block[i[part], j[part]] = np.float32(0.0) - _distances(x, y).astype(np.float32)
    return scores


def aggregate(scores: _Real, how: Aggregation) -> Float32:
    """Reduce the scores of one probe against the k references of an identity: (..., k) -> (...), float32.

    Raises ValueError without references, or for `single` with more than one.
    """
    scores = np.asarray(scores, dtype=np.float32)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError("aggregate needs at least one reference")
    if how == "single" and scores.shape[-1] != 1:
        raise ValueError("aggregation 'single' takes exactly one reference")
    if how == "mean":
        return np.asarray(scores.astype(np.float64).mean(axis=-1), dtype=np.float32)
    return np.asarray(scores.max(axis=-1), dtype=np.float32)


def pool(rows: Float32, normalized: bool) -> Float32:
    """One embedding (d,) of an item's windows (w, d): their mean, scaled to length 1 again where `normalized`.

    A single window is returned as it is. Raises UnusableInput where windows are not finite or cancel out.
    """
    windows = _rows(rows, 2)
    if len(windows) == 0:
        raise ValueError("pool needs at least one window")
    if len(windows) == 1:
        return np.array(rows[0], dtype=np.float32)
    mean = windows.mean(axis=0)
    if normalized:
        mean = mean / np.sqrt(_squares(mean, nonzero=True))
    return np.asarray(mean, dtype=np.float32)


def log_likelihood_ratio(score: float, slope: float, intercept: float, low: float, high: float) -> float:
    """slope * score + intercept, natural logarithm, clipped to [low, high]."""
    return min(max(slope * float(score) + intercept, low), high)


def posterior(prior: float, log_likelihood_ratio: float) -> float:
    """The probability of a match from its prior (0..1) and a natural-log ratio: Bayes' rule in odds.

    A prior of 0 or 1 stays as it is. Raises ValueError outside 0..1.
    """
    if not 0.0 <= prior <= 1.0:
        raise ValueError("prior must lie between 0 and 1")
    if prior in (0.0, 1.0):
        return float(prior)
    log_odds = math.log(prior) - math.log1p(-prior) + log_likelihood_ratio
    return 1.0 / (1.0 + math.exp(-log_odds)) if log_odds >= 0 else math.exp(log_odds) / (1.0 + math.exp(log_odds))


def decide(
    score: np.float32, threshold: np.float32, threshold_low: np.float32 | None, guard_band: float
) -> tuple[Verdict, str | None]:
    """The verdict of a score, and the code of the reason where it is `undetermined`.

    `match` from `threshold` up (equality included), `no_match` below `threshold_low` (below `threshold` where that is
    None), between them `between_thresholds`; a score nearer than `guard_band` to either is `within_guard_band`. The
    differences of float32 values are taken in float64, where they are exact.
    """
    at, high = float(score), float(threshold)
    low = high if threshold_low is None else float(threshold_low)
    if abs(at - high) < guard_band or abs(at - low) < guard_band:
        return "undetermined", "within_guard_band"
    if at >= high:
        return "match", None
    if at < low:
        return "no_match", None
    return "undetermined", "between_thresholds"


def _rows(values: _Real, ndim: int) -> _Float64:
    rows = np.ascontiguousarray(values, dtype=np.float64)
    if rows.ndim != ndim:
        raise ValueError(f"expected {ndim} dimensions, got shape {rows.shape}")
    _check_finite(rows)
    return rows


def _row(values: _Real) -> tuple[_Float64, float]:
    """One embedding (d,) and the sum of its squares, which is finite only where all of them are."""
    row = np.ascontiguousarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise ValueError(f"expected 1 dimensions, got shape {row.shape}")
    square = _sum(row * row)
    if not math.isfinite(square):
        _check_finite(row)
    return row, square


def _check_finite(rows: _Float64) -> None:
    if not np.isfinite(rows).all():
        raise UnusableInput("an embedding holds values that are not finite; send the item again or leave it out")


def _same_length(a: _Float64, b: _Float64) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"embeddings of {a.shape[-1]} and {b.shape[-1]} values cannot be compared")


def _squares(rows: _Float64, *, nonzero: bool) -> _Float64:
    squares = np.asarray((rows * rows).sum(axis=-1))
    if nonzero and not (squares > 0.0).all():
        raise UnusableInput(ZERO)
    return squares


def _sum(values: _Float64) -> float:
    """The sum of (d,), added in the order in which `sum(axis=-1)` adds each of many rows."""
    return float(np.add.reduce(values))


def _cosines(a: _Float64, b: _Float64, a_squares: _Float64, b_squares: _Float64) -> _Float64:
    # sqrt(x * x) is exactly x, so that an embedding with itself gives exactly 1
    return np.asarray(np.clip((a * b).sum(axis=-1) / np.sqrt(a_squares * b_squares), -1.0, 1.0))


def _distances(a: _Float64, b: _Float64) -> _Float64:
    difference = a - b
    return np.asarray(np.sqrt((difference * difference).sum(axis=-1)))
