"""What a precision may lose: a tenth of a point of AUC, no; noise that one unit makes, yes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.core.evidence import GenuineScores, PairScores, Units
from model_export.comparing import Scores
from model_export.errors import CommandError
from model_export.precisions.gate import Loss, compare_precisions, loss_table

UNITS = 40
Floats = npt.NDArray[np.floating[Any]]


def make_scores(units: int = UNITS) -> Scores:
    """Three genuine pairs a unit, around 0.8, and four impostor pairs of every two units, around 0.3."""
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(units), 3)
    genuine = rng.normal(0.8, 0.1, len(unit)).astype(np.float32)
    a, b = np.repeat(np.array(list(itertools.combinations(range(units), 2))), 4, axis=0).T
    impostor = rng.normal(0.3, 0.15, len(a)).astype(np.float32)
    return Scores(Units(units), GenuineScores(genuine, unit), {"random": PairScores(impostor, a, b)})


def with_genuine(scores: Scores, genuine: Floats) -> Scores:
    return replace(scores, genuine=GenuineScores(genuine.astype(np.float32), scores.genuine.unit))


def compare(full: Scores, small: Scores) -> Loss:
    (loss,) = compare_precisions(full, small, draws=1000, seed=1)
    return loss


def test_the_same_scores_lose_nothing_in_any_draw() -> None:
    loss = compare(make_scores(), make_scores())
    assert loss.auc[0] == loss.auc[1] > 0.95
    assert loss.fnmr[0] == loss.fnmr[1] > 0
    assert loss.rise == (0.0, 0.0)  # each draw weighs both alike, so that not even noise is left
    assert loss.reasons == []


def test_rounding_passes() -> None:
    full = make_scores()
    rounded = with_genuine(full, full.genuine.score + np.random.default_rng(0).normal(0, 1e-3, 3 * UNITS))
    assert compare(full, rounded).reasons == []


def test_damage_is_refused_with_its_figures() -> None:
    full = make_scores()
    loss = compare(full, with_genuine(full, full.genuine.score - 0.15))
    assert loss.fnmr[1] > loss.fnmr[0] + 0.1
    assert loss.rise[0] > 0
    auc, fnmr = loss.reasons
    assert f"ROC AUC falls from {loss.auc[0]:.4f} to {loss.auc[1]:.4f}" in auc
    assert f"FNMR at FMR 0.01 rises from {loss.fnmr[0]:.4f} to {loss.fnmr[1]:.4f}" in fnmr


def test_damage_that_leaves_the_area_alone_is_refused_by_the_missed_matches() -> None:
    """Genuine scores near the threshold fall below it; their rank among all scores hardly changes."""
    full = make_scores()
    threshold = np.quantile(full.impostors["random"].score, 0.99)
    moved = np.where(full.genuine.score < threshold + 0.05, threshold - 0.04, full.genuine.score)
    loss = compare(full, with_genuine(full, moved))
    assert loss.auc[0] - loss.auc[1] < 0.005
    (reason,) = loss.reasons
    assert "FNMR" in reason


def test_a_rise_that_one_unit_makes_is_noise() -> None:
    full = make_scores()
    threshold = np.quantile(full.impostors["random"].score, 0.99)
    unlucky = int(full.genuine.unit[np.argmax(full.genuine.score)])
    moved = np.where(full.genuine.unit == unlucky, threshold - 0.02, full.genuine.score)
    loss = compare(full, with_genuine(full, moved))
    assert loss.fnmr[1] - loss.fnmr[0] > max(0.01, 0.1 * loss.fnmr[0])  # beyond the limit as it stands ...
    assert loss.rise[0] <= 0 < loss.rise[1]  # ... but without that unit there is none
    assert loss.reasons == []


def test_few_units_are_compared_at_the_least_fmr_that_they_support() -> None:
    assert compare(make_scores(12), make_scores(12)).fmr == pytest.approx(3 / 66)
    loss = compare(make_scores(4), make_scores(4))
    assert loss.fmr is None  # 3/6 is no error rate that anyone would ask for
    assert "beyond the sample" in loss_table([loss], "int8")[1][1]


def test_a_fall_of_the_area_is_refused_where_no_fmr_is_supported() -> None:
    full = make_scores(4)
    loss = compare(full, with_genuine(full, full.genuine.score - 0.5))
    (reason,) = loss.reasons
    assert "ROC AUC" in reason


def test_scores_of_other_items_are_not_compared() -> None:
    with pytest.raises(CommandError, match="same items"):
        compare_precisions(make_scores(), make_scores(UNITS - 1), draws=100, seed=1)
