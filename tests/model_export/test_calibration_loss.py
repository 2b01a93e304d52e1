"""Cllr and minCllr on scores whose right answers are known; a map that does not fit is left out, and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from app.core.evidence import Calibration, GenuineScores, PairScores, Units, estimate
from app.core.evidence.ratio import min_cllr
from model_export.calibration_loss import (
    LIMIT,
    Cost,
    Loss,
    cllrs,
    drop_broken,
    judge_ratios,
    measure_losses,
    min_cllrs,
    unseen_cost,
)
from model_export.comparing import Scores
from model_export.figures import Sampled, draw_samples
from tests.tiny import tiny_calibration

SHIFT = 2.0
"""Between the means of genuine and impostor scores, both normal with variance 1: the ratio is SHIFT * score - 2."""

KEPT = Loss(
    cllr=Cost(0.12, 0.08, 0.16),
    min_cllr=Cost(0.1, 0.07, 0.13),
    lost=Cost(0.02, 0.01, 0.04),
    beyond=Cost(0.01, 0.0, 0.02),
    limits=0.01,
    reliability=None,
    method="held_out",
)
BROKEN = replace(KEPT, lost=Cost(0.2, 0.1, 0.3), beyond=Cost(0.19, 0.09, 0.3))


def test_a_map_that_does_not_fit_is_left_out_and_the_error_rates_stay(capsys: pytest.CaptureFixture[str]) -> None:
    calibration = tiny_calibration()
    first, *others = [ratio.impostor for ratio in calibration.ratios]
    dropped = drop_broken(calibration, {first: BROKEN} | dict.fromkeys(others, KEPT))
    assert [ratio.impostor for ratio in dropped.ratios] == others
    assert dropped.operating_points == calibration.operating_points
    said = capsys.readouterr().out
    assert f"log-likelihood ratio against {first}: left out" in said
    assert "Cllr less minCllr 0.200 bits" in said


def test_maps_that_fit_or_cannot_be_judged_stay(capsys: pytest.CaptureFixture[str]) -> None:
    calibration = tiny_calibration()
    for loss in (
        KEPT,
        replace(BROKEN, beyond=Cost(0.1, 0.04, 0.2)),  # the sample's limits cost as much
        replace(BROKEN, lost=Cost(0.2, 0.1, np.inf)),  # too few units to judge
    ):
        assert drop_broken(calibration, {one.impostor: loss for one in calibration.ratios}) == calibration
    assert capsys.readouterr().out == ""


def gaussian(units: int, seed: int = 0, scale: float = 1.0) -> Sampled:
    """Scores whose natural-log ratio is SHIFT * score / scale - SHIFT**2 / 2: of units that do not differ."""
    rng = np.random.default_rng(seed)
    a, b = np.triu_indices(units, 1)
    unit = np.repeat(np.arange(units), 20)
    genuine = GenuineScores((scale * rng.normal(SHIFT, 1, len(unit))).astype(np.float32), unit)
    impostors = PairScores((scale * rng.normal(0, 1, len(a))).astype(np.float32), a, b)
    return draw_samples(Scores(Units(units), genuine, {"random": impostors}), draws=1000, seed=0)


def calibrated(sampled: Sampled, slope: float | None = None) -> Calibration:
    """The evidence of these scores; its ratio steeper by a factor, where that is told."""
    scores = sampled.scores
    estimated = estimate(
        scores.units, scores.genuine, scores.impostors, {"random": "another"}, guard_band=1e-5, draws=1000, seed=0
    )
    calibration = tiny_calibration().model_copy(update=estimated.members())
    if slope is None:
        return calibration
    wrong = [
        one.model_copy(update={"slope": slope * one.slope, "intercept": slope * one.intercept})
        for one in calibration.ratios
    ]
    return calibration.model_copy(update={"ratios": tuple(wrong)})


def true_cllr() -> float:
    """Of the true ratio of these normal scores, in bits; both halves are equal, by symmetry."""
    cost = quad(lambda x: norm.pdf(x, SHIFT) * np.log2(1 + np.exp(SHIFT**2 / 2 - SHIFT * x)), -8, 12)[0]
    return float(cost)


def test_the_cost_of_a_true_ratio_is_that_of_theory_and_no_map_does_better() -> None:
    (loss,) = measure_losses(calibrated(gaussian(120)), gaussian(120, seed=7), seed=0).values()
    assert loss.cllr is not None
    assert loss.lost is not None
    assert loss.cllr.low <= true_cllr() <= loss.cllr.high
    assert loss.min_cllr.low <= true_cllr() <= loss.min_cllr.high
    assert loss.cllr.value == pytest.approx(loss.min_cllr.value + loss.lost.value)
    assert 0 <= loss.lost.value < LIMIT
    assert loss.verdict == "kept"


def test_a_ratio_that_is_too_sure_is_broken_on_held_out_units_and_when_it_is_refitted_it_is_not() -> None:
    sampled = gaussian(120)
    too_sure = calibrated(sampled, slope=4.0)
    (loss,) = measure_losses(too_sure, gaussian(120, seed=7), seed=0).values()
    assert (loss.verdict, loss.method) == ("broken", "held_out")
    assert loss.lost is not None
    assert loss.lost.low > LIMIT
    assert drop_broken(too_sure, {"random": loss}).ratios == ()
    (refitted,) = measure_losses(too_sure, sampled, seed=0, folds=9).values()
    assert (refitted.verdict, refitted.method) == ("kept", "cross_fitted")


def test_min_cllr_is_that_of_pooled_violators_in_every_row() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.dirichlet(np.linspace(1, 4, 30), 5), rng.dirichlet(np.linspace(4, 1, 30), 5)
    free, limited = min_cllrs(genuine, impostor, (-np.inf, np.inf))
    assert np.allclose(free, [min_cllr(a, b) for a, b in zip(genuine, impostor, strict=True)])
    assert np.allclose(free, limited)
    _, narrow = min_cllrs(genuine, impostor, (-0.5, 0.5))
    assert (narrow > free).all()
    one = np.full((1, 1), 1.0)
    assert min_cllrs(one, one, (-np.inf, np.inf))[0] == pytest.approx(1.0)  # scores that say nothing cost one bit
    assert cllrs(np.zeros(1), one, one) == pytest.approx(1.0)


def test_limits_of_few_units_cost_something_that_is_no_fault_of_the_map() -> None:
    (loss,) = measure_losses(calibrated(gaussian(20, scale=5.0)), gaussian(20, seed=7, scale=5.0), seed=0).values()
    assert loss.limits == pytest.approx((np.log2(1 + 1 / 20) + np.log2(1 + 1 / 190)) / 2, rel=1e-3)
    (few,) = measure_losses(calibrated(gaussian(8)), gaussian(8, seed=7), seed=0).values()
    assert few.limits > LIMIT
    assert few.verdict == "too_few_units"


def test_no_error_seen_is_no_error_proved() -> None:
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(40, 1)
    genuine = GenuineScores((5 + rng.random(80)).astype(np.float32), np.repeat(np.arange(40), 2))
    scores = Scores(Units(40), genuine, {"random": PairScores(rng.random(len(a)).astype(np.float32), a, b)})
    (loss,) = measure_losses(None, draw_samples(scores, draws=1000, seed=0), seed=0).values()
    assert (loss.min_cllr.value, loss.min_cllr.low) == (0.0, 0.0)
    assert loss.min_cllr.high == pytest.approx(unseen_cost(40))
    assert unseen_cost(40) == pytest.approx(0.196, abs=1e-3)
    assert unseen_cost(3) == pytest.approx(1.0)


def test_units_too_few_to_refit_are_said_and_a_map_that_is_there_is_not_called_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sampled = gaussian(2)
    (loss,) = judge_ratios(tiny_calibration(), sampled, seed=0, folds=9).values()
    assert loss.verdict == "too_few_units"
    assert "cannot be judged" in capsys.readouterr().out
    (none,) = judge_ratios(None, sampled, seed=0, folds=None).values()
    assert none.verdict == "no_map"
