"""Scores of labelled pairs with their sampling units: the input of every estimate. No embeddings, no items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.scoring import Float32

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Units:
    """The sampling units of a population, numbered 0..count-1, and the group of each where units come in groups.

    Where `group` (count,) is given, units of one group are not independent (characters of one alphabet), so that every
    draw takes groups first, then units inside each drawn copy.
    """

    count: int
    group: Integers | None = None

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError("an error rate needs at least two units")
        if self.group is not None and self.group.shape != (self.count,):
            raise ValueError(f"group must have one entry for each of the {self.count} units")


@dataclass(frozen=True, slots=True)
class PairScores:
    """Impostor scores of one type: `score` float32 (m,) of item pairs of the units `unit_a`, `unit_b` (m,).

    Each unordered item pair once. `within_groups` says that only pairs inside a group were compared (hard pairs).
    """

    score: Float32
    unit_a: Integers
    unit_b: Integers
    within_groups: bool = False

    def __post_init__(self) -> None:
        if not self.score.shape == self.unit_a.shape == self.unit_b.shape or self.score.ndim != 1:
            raise ValueError("score, unit_a and unit_b must be one-dimensional and of one length")
        _check_scores(self.score)
        if (self.unit_a == self.unit_b).any():
            raise ValueError("an impostor pair joins two different units")


@dataclass(frozen=True, slots=True)
class GenuineScores:
    """Genuine scores: `score` float32 (m,) of item pairs of the unit `unit` (m,).

    A pair whose items are of two units (a word said by two speakers) counts for each of them: it is held twice, once
    with either as `unit`, and `other` (m,) names the one that is not `unit`. In a bootstrap it has the weights of both.
    Without `other` both items of every pair are of one unit.
    """

    score: Float32
    unit: Integers
    other: Integers | None = None

    def __post_init__(self) -> None:
        if self.score.shape != self.unit.shape or self.score.ndim != 1:
            raise ValueError("score and unit must be one-dimensional and of one length")
        if self.other is not None and self.other.shape != self.unit.shape:
            raise ValueError("other must have one entry for each score")
        _check_scores(self.score)

    @classmethod
    def between(cls, score: Float32, unit_a: Integers, unit_b: Integers) -> GenuineScores:
        """Scores (m,) of pairs of the units `unit_a` and `unit_b` (m,), each held once, or twice where these differ."""
        crossing = unit_a != unit_b
        if not crossing.any():
            return cls(score, unit_a)
        return cls(
            np.concatenate([score, score[crossing]]),
            np.concatenate([unit_a, unit_b[crossing]]),
            np.concatenate([unit_b, unit_a[crossing]]),
        )

    @property
    def pairs(self) -> int:
        """The number of item pairs, each once."""
        return len(self.score) - (0 if self.other is None else int((self.unit != self.other).sum()) // 2)


def _check_scores(score: Float32) -> None:
    if score.dtype != np.float32:
        raise ValueError("scores must be float32, the precision in which verdicts are decided")
    if not len(score) or not np.isfinite(score).all():
        raise ValueError("scores must be finite, and there must be some")
