"""Synthetic populations with known error rates, and small calibrations made from them or by hand. No tests."""

from __future__ import annotations

import datetime
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from app.core.evidence import Calibration, Counts, GenuineScores, MeasuredWith, PairScores, Units, estimate

Kind = Literal["normal", "wolves"]
Float64 = npt.NDArray[np.float64]
WOLVES, WOLF_MEAN, SHEEP_SPREAD = 0.2, 2.0, 0.5
TODAY = datetime.date(2026, 3, 1)


def unit_effects(rng: np.random.Generator, kind: Kind, count: int) -> Float64:
    """Random effects of units. Wolves (or goats): a fifth of the units, far from the rest (Doddington et al. 1998)."""
    if kind == "normal":
        return rng.normal(size=count)
    wolf = rng.random(count) < WOLVES
    return np.where(wolf, rng.normal(WOLF_MEAN, 1.0, count), rng.normal(0.0, SHEEP_SPREAD, count))


def normal_tail(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2.0))


def true_fmr(kind: Kind, threshold: float, share: float) -> float:
    """P(score >= threshold) of two new units: sqrt(share)(a_i + a_j) + noise of variance 1 - 2 share."""
    if kind == "normal":
        return normal_tail(threshold)
    total = 0.0
    for wolves, chance in ((0, (1 - WOLVES) ** 2), (1, 2 * WOLVES * (1 - WOLVES)), (2, WOLVES**2)):
        variance = 1 - 2 * share + share * (wolves + (2 - wolves) * SHEEP_SPREAD**2)
        total += chance * normal_tail((threshold - math.sqrt(share) * WOLF_MEAN * wolves) / math.sqrt(variance))
    return total


def true_fnmr(kind: Kind, threshold: float, share: float) -> float:
    """P(score < threshold) of a new unit: 3 - sqrt(share) a_i + noise of variance 1 - share."""
    if kind == "normal":
        return normal_tail(3.0 - threshold)
    total = 0.0
    for goats, chance in ((0, 1 - WOLVES), (1, WOLVES)):
        variance = 1 - share + share * (1.0 if goats else SHEEP_SPREAD**2)
        total += chance * normal_tail((3.0 - threshold - math.sqrt(share) * WOLF_MEAN * goats) / math.sqrt(variance))
    return total


def impostor_scores(rng: np.random.Generator, kind: Kind, units: int, share: float) -> PairScores:
    """One score for each pair of units."""
    a, b = np.triu_indices(units, 1)
    effect = unit_effects(rng, kind, units)
    score = math.sqrt(share) * (effect[a] + effect[b]) + math.sqrt(1 - 2 * share) * rng.normal(size=len(a))
    return PairScores(score.astype(np.float32), a, b)


def genuine_scores(rng: np.random.Generator, kind: Kind, units: int, share: float, pairs: int) -> GenuineScores:
    """`pairs` scores for each unit, unit by unit."""
    effect = unit_effects(rng, kind, units)
    noise = math.sqrt(1 - share) * rng.normal(size=(units, pairs))
    score = 3.0 - math.sqrt(share) * effect[:, np.newaxis] + noise
    return GenuineScores(score.ravel().astype(np.float32), np.repeat(np.arange(units), pairs))


def grouped_scores(
    rng: np.random.Generator, group: npt.NDArray[np.int64], group_share: float, share: float
) -> PairScores:
    """One score for each pair of units inside a group; a group's own effect is common to all its pairs."""
    a, b = np.triu_indices(len(group), 1)
    inside = group[a] == group[b]
    a, b = a[inside], b[inside]
    own, effect = rng.normal(size=group.max() + 1), rng.normal(size=len(group))
    score = math.sqrt(group_share) * own[group[a]] + math.sqrt(share) * (effect[a] + effect[b])
    score += math.sqrt(1 - group_share - 2 * share) * rng.normal(size=len(a))
    return PairScores(score.astype(np.float32), a, b, within_groups=True)


def calibrate(units: int = 60, seed: int = 5, *, genuine: bool = True, guard_band: float = 1e-5) -> Calibration:
    """A calibration with `random` and the harder `near`, of unit effects that explain a fifth of the variance."""
    rng = np.random.default_rng(seed)
    random = impostor_scores(rng, "normal", units, 0.1)
    near = PairScores(random.score + np.float32(0.5), random.unit_a, random.unit_b)
    own = genuine_scores(rng, "normal", units, 0.3, 4) if genuine else None
    measured = estimate(
        Units(units),
        own,
        {"random": random, "near": near},
        {"random": "another one", "near": "one nearby"},
        guard_band=guard_band,
        seed=seed,
        max_knots=200,
    )
    return Calibration(**members(units), **measured.members())


def members(units: int = 60) -> dict[str, Any]:
    """The members of a calibration that no estimate fills in."""
    return {
        "id": "made-up",
        "population": "numbers drawn at random",
        "unit": "number",
        "source": "shipped",
        "date": TODAY,
        "valid_for_days": 30,
        "measured_with": MeasuredWith(provider="CPUExecutionProvider", onnxruntime="0", tf32=False),
        "counts": Counts(
            units=units, genuine_units=units, items=5 * units, genuine_pairs=4 * units, impostor_pairs={"random": 9}
        ),
        "failure_to_acquire": {"unusable_input": 0.01},
        "applicability": None,
        "input_applicability": None,
    }
