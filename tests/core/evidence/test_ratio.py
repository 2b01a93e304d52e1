"""The log-likelihood ratio: right where the truth is known, finite where classes separate, minCllr below Cllr."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.core.evidence import GenuineScores, PairScores, Units, estimate
from app.core.evidence.binning import bin_scores, choose_knots
from app.core.evidence.calibration import Ratio
from app.core.evidence.ratio import cllr, fit_ratio, isotonic, min_cllr
from app.core.evidence.resampling import draw_weights, resample

Weights = npt.NDArray[np.float64]
weights = hnp.arrays(np.float64, 12, elements=st.integers(0, 50).map(lambda count: count / 50)).filter(
    lambda w: float(w.sum()) > 1e-3
)


def samples(genuine_mean: float, units: int = 80) -> tuple[GenuineScores, PairScores]:
    """Independent scores of variance 1 around genuine_mean and 0."""
    rng = np.random.default_rng(2)
    a, b = np.triu_indices(units, 1)
    impostor = PairScores(rng.normal(0, 1, len(a)).astype(np.float32), a, b)
    unit = np.repeat(np.arange(units), 40)
    return GenuineScores(rng.normal(genuine_mean, 1, len(unit)).astype(np.float32), unit), impostor


def fit(genuine_mean: float) -> Ratio:
    genuine, impostor = samples(genuine_mean)
    knots, draws = choose_knots(genuine, {"random": impostor}, 400), draw_weights(Units(80), 1000, 1)
    mine, theirs = bin_scores(genuine, knots), bin_scores(impostor, knots)
    return fit_ratio("random", (mine, resample(mine, draws)), (theirs, resample(theirs, draws)))


def test_fit_finds_the_true_ratio_of_two_normals() -> None:
    # ln N(s; 2, 1) / N(s; 0, 1) = 2 s - 2
    ratio = fit(2.0)
    assert ratio.slope == pytest.approx(2.0, abs=0.15)
    assert ratio.intercept == pytest.approx(-2.0, abs=0.15)
    assert ratio.low == pytest.approx(-math.log(80), rel=1e-5)
    assert ratio.high == pytest.approx(math.log(80 * 79 / 2), rel=1e-5)
    assert len(ratio.bootstrap) == 200
    slopes = [slope for slope, _ in ratio.bootstrap]
    assert min(slopes) < ratio.slope < max(slopes)


def test_cost_in_bits_is_that_of_the_true_ratio_over_unbinned_scores() -> None:
    genuine, impostor = (2.0 * scores.score.astype(np.float64) - 2.0 for scores in samples(2.0))
    expected = (np.logaddexp(0, -genuine).mean() + np.logaddexp(0, impostor).mean()) / (2 * math.log(2))
    ratio = fit(2.0)
    assert ratio.cllr == pytest.approx(float(expected), abs=0.005)
    assert 0.9 * ratio.cllr < ratio.min_cllr <= ratio.cllr


def test_separated_classes_keep_a_finite_slope() -> None:
    ratio = fit(40.0)
    assert 0.0 < ratio.slope < 10.0
    assert ratio.cllr < 0.05


def test_scores_that_do_not_rise_with_likeness_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="not higher"):
        fit(-2.0)


def test_a_useless_score_costs_one_bit() -> None:
    share = np.full(4, 0.25)
    assert cllr(np.zeros(4), share, share) == pytest.approx(1.0)
    assert min_cllr(share, share) == pytest.approx(1.0)


def test_a_perfect_score_costs_nothing() -> None:
    assert min_cllr(np.array([0.0, 1.0]), np.array([1.0, 0.0])) == 0.0


@given(genuine=weights, impostor=weights, slope=st.floats(0, 20), intercept=st.floats(-20, 20))
def test_no_rising_map_costs_less_than_min_cllr(
    genuine: Weights, impostor: Weights, slope: float, intercept: float
) -> None:
    genuine, impostor = genuine / genuine.sum(), impostor / impostor.sum()
    mapped = slope * np.linspace(-1, 1, 12) + intercept
    assert min_cllr(genuine, impostor) <= cllr(mapped, genuine, impostor) + 1e-9


@given(genuine=weights, impostor=weights)
def test_isotonic_ratios_never_fall(genuine: Weights, impostor: Weights) -> None:
    ratios = isotonic(genuine, impostor)
    assert len(ratios) == len(genuine)
    assert (ratios[1:] >= ratios[:-1]).all()


def test_ratio_is_fitted_for_each_impostor_type() -> None:
    rng = np.random.default_rng(8)
    a, b = np.triu_indices(30, 1)
    types = {name: PairScores(rng.normal(m, 1, len(a)).astype(np.float32), a, b) for name, m in (("x", 0), ("y", 1))}
    genuine = GenuineScores(rng.normal(3, 1, 90).astype(np.float32), np.repeat(np.arange(30), 3))
    ratios = estimate(Units(30), genuine, types, {"x": "", "y": ""}, guard_band=0.0, seed=1).ratios
    assert [ratio.impostor for ratio in ratios] == ["x", "y"]
    assert ratios[0].cllr < ratios[1].cllr
