"""The reliability diagram: true ratios lie on the diagonal, boastful ones do not, and every pair is counted once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.core.evidence import GenuineScores, PairScores, Units
from app.core.evidence.binning import choose_knots
from model_export.comparing import Scores
from model_export.figures import ALL, Float64, Sampled, draw_samples
from model_export.reliability import Reliability, measure_reliability

UNITS, EACH = 100, 40


@pytest.fixture(scope="module")
def sampled() -> Sampled:
    """Scores that are their own natural-log ratios: normal, means +2 and -2, variance 4."""
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(UNITS, 1)
    genuine = GenuineScores(rng.normal(2, 2, UNITS * EACH).astype(np.float32), np.repeat(np.arange(UNITS), EACH))
    impostors = PairScores(rng.normal(-2, 2, len(a)).astype(np.float32), a, b)
    return draw_samples(Scores(Units(UNITS), genuine, {"random": impostors}), draws=1000, seed=0)


def diagram(sampled: Sampled, factor: float) -> Reliability:
    scores = sampled.scores
    knots = choose_knots(scores.genuine, scores.impostors, 400)
    centres: Float64 = np.concatenate([knots[:1], (knots[1:] + knots[:-1]) / 2, knots[-1:]]).astype(np.float64)
    pairs = scores.genuine.score * np.float32(factor), scores.impostors["random"].score * np.float32(factor)
    return measure_reliability(factor * centres, sampled.kinds[ALL][1], sampled.impostors["random"][1], pairs)


def test_true_ratios_lie_on_the_diagonal(sampled: Sampled) -> None:
    one = diagram(sampled, 1.0)
    assert len(one.posterior) == 10
    assert np.abs(one.posterior - one.observed).max() < 0.08
    inside = (one.low <= one.posterior) & (one.posterior <= one.high)
    assert inside.mean() >= 0.8


def test_ratios_that_are_too_sure_lie_inside_and_too_careful_ones_outside(sampled: Sampled) -> None:
    sure, careful = diagram(sampled, 3.0), diagram(sampled, 0.3)
    for one, sign in ((sure, 1), (careful, -1)):
        upper = one.posterior > 0.6
        assert (sign * (one.posterior - one.observed)[upper] > 0.02).all()


def test_every_pair_is_counted_once_and_few_units_bound_nothing(sampled: Sampled) -> None:
    one = diagram(sampled, 1.0)
    assert one.pairs.sum() == UNITS * EACH + UNITS * (UNITS - 1) // 2
    genuine, impostor = sampled.kinds[ALL][1], sampled.impostors["random"][1]
    few = measure_reliability(
        np.linspace(-9, 9, len(genuine.point)), replace(genuine, clusters=3), impostor, (np.zeros(2, np.float32),) * 2
    )
    assert (few.low == 0.0).all()
    assert (few.high == 1.0).all()
