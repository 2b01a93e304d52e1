"""Knots, and the share of each unit's or unit pair's scores that falls between them. No weights, no bounds.

Reducing item pairs to one row a unit pair makes every unit pair weigh the same, and lets millions of item pairs be
resampled as one matrix product. Memory: 4 bytes x unit pairs x (knots + 1), 61 MB for all pairs of 277 units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence.samples import GenuineScores, Integers, PairScores
from app.core.scoring import Float32

Float64 = npt.NDArray[np.float64]
_CHUNK = 1 << 21
_COUNTED = 1 << 24
LEAST_TAIL = 100


@dataclass(frozen=True, slots=True)
class Binned:
    """Shares by unit pair (or unit): `shares` float32 (rows, knots + 1), each row summing to 1.

    Bin b holds scores from knot b - 1 (included) up to knot b (excluded). `members` (rows, 2) are the units of a pair,
    twice the same where a genuine one has one, or (rows, 1) the unit; `centre` (knots + 1,) the mean score of each bin,
    0 where it is empty. `weight` (rows,) makes every unit pair, or every unit of genuine pairs, weigh the same.
    """

    knots: Float32
    members: Integers
    shares: Float32
    centre: Float64
    weight: Float64
    rows: int


def bin_scores(scores: PairScores | GenuineScores, knots: Float32) -> Binned:
    """Reduce scores to shares between ascending knots, one row for each unit pair or unit that occurs."""
    members, row = _rows(scores)
    width = len(knots) + 1
    shares = np.zeros((len(members), width), dtype=np.float32)
    sums, counts = np.zeros(width), np.zeros(width)
    for start in range(0, len(row), _CHUNK):
        part = slice(start, start + _CHUNK)
        index = np.searchsorted(knots, scores.score[part], side="right")
        np.add.at(shares.reshape(-1), row[part] * width + index, np.float32(1))
        sums += np.bincount(index, weights=scores.score[part], minlength=width)
        counts += np.bincount(index, minlength=width)
    shares /= shares.sum(axis=1, keepdims=True)
    weight, count = _row_weights(scores, members)
    return Binned(knots, members, shares, sums / np.maximum(counts, 1.0), weight, count)


def weights_by_unit(scores: PairScores | GenuineScores) -> Float64:
    """A weight for each score, so that every unit pair (or unit) weighs the same and all sum to 1: float64 (m,)."""
    members, row = _rows(scores)
    weight, _ = _row_weights(scores, members)
    weights: Float64 = weight[row] / np.bincount(row)[row] / weight.sum()
    return weights


def _row_weights(scores: PairScores | GenuineScores, members: Integers) -> tuple[Float64, int]:
    """The weight of each row, and what is counted: P, or the number of units with a genuine pair.

    A genuine row of two units is half of each one's evidence: of a unit in n rows every row has the share 1 / n.
    """
    if isinstance(scores, PairScores) or members.shape[1] == 1:
        return np.ones(len(members)), len(members)
    first, second = members.T
    crosses = first != second
    size = int(members.max()) + 1
    touched = np.bincount(first, minlength=size) + np.bincount(second[crosses], minlength=size)
    weight = 1.0 / touched[first] + np.where(crosses, 1.0 / touched[second], 0.0)
    return weight, int((touched > 0).sum())


def choose_knots(genuine: GenuineScores | None, impostors: Mapping[str, PairScores], max_knots: int) -> Float32:
    """At most `max_knots` ascending thresholds: quantiles of every distribution, dense where errors are rare.

    Impostor scores get two thirds of theirs in the upper tail, down to a share of 1 / unit pairs; genuine scores in the
    lower one, down to 1 / units; both to a hundredth at least, since few units may hold many scores. The extremes are
    there too, so that FMR reaches 1 and 0, and FNMR 0 and 1.
    """
    distributions: list[tuple[PairScores | GenuineScores, float]] = [(scores, 1.0) for scores in impostors.values()]
    if genuine is not None:
        distributions.append((genuine, -1.0))
    quota = max_knots // len(distributions) - 3
    if quota < 6:
        raise ValueError(f"{max_knots} knots are too few for {len(distributions)} distributions")
    parts: list[npt.NDArray[Any]] = []
    for scores, direction in distributions:
        rows = len(_rows(scores)[0])
        tail = np.geomspace(0.5, 1.0 / max(rows, LEAST_TAIL), 2 * quota // 3)
        body = np.linspace(0.5, 1.0, quota - len(tail) + 1)[1:]
        levels = np.concatenate([tail, body])
        levels = 1.0 - levels if direction > 0 else levels
        # actual scores, so that a step of the curve is met exactly
        parts.append(np.quantile(scores.score, levels, method="inverted_cdf"))
        lowest, highest = scores.score.min(), scores.score.max()
        parts.append(np.array([lowest, highest, np.nextafter(highest, np.float32(np.inf))], dtype=np.float32))
    return np.unique(np.concatenate(parts).astype(np.float32) + np.float32(0))


def histogram(scores: PairScores | GenuineScores, edges: Sequence[float]) -> tuple[float, ...]:
    """Unit-weighted shares of scores between edges, the last bin closed; six significant digits."""
    shares, _ = np.histogram(scores.score.astype(np.float64), bins=np.array(edges), weights=weights_by_unit(scores))
    return tuple(float(f"{min(share, 1.0):.6g}") for share in shares)


def _rows(scores: PairScores | GenuineScores) -> tuple[Integers, Integers]:
    """The unit pairs (rows, 2) or units (rows, 1) that occur, and the row of each score (m,)."""
    if isinstance(scores, GenuineScores) and scores.other is None:
        units, row = _distinct(scores.unit.astype(np.int64))
        return units[:, np.newaxis], row
    ends = (scores.unit_a, scores.unit_b) if isinstance(scores, PairScores) else (scores.unit, scores.other)
    a, b = (np.asarray(end).astype(np.int64) for end in ends)
    span = int(max(a.max(), b.max())) + 1
    keys, row = _distinct(np.minimum(a, b) * span + np.maximum(a, b))
    return np.stack([keys // span, keys % span], axis=1), row


def _distinct(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct keys, ascending, and the place of each key among them.

    By counting where that fits, since sorting tens of millions of keys takes most of a calibration's time.
    """
    most = int(keys.max())
    if most >= _COUNTED:
        distinct, place = np.unique(keys, return_inverse=True)
        return distinct, place
    distinct = np.flatnonzero(np.bincount(keys, minlength=most + 1))
    place_of = np.zeros(most + 1, dtype=np.int64)
    place_of[distinct] = np.arange(len(distinct))
    return distinct, place_of[keys]
