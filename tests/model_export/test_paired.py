"""The change of a figure between two encoders: nothing where nothing changes, and no claim from a handful of units."""

from __future__ import annotations

import numpy as np

from model_export.figures import auc
from model_export.paired import Change, change, resample_both
from tests.model_export.precisions.test_gate import UNITS, make_scores, with_genuine


def auc_change(units: int, shift: float, noise: float = 0.0) -> Change:
    """The change of the area where every genuine score rises by `shift`, and by noise of its own."""
    before = make_scores(units)
    moved = np.random.default_rng(4).normal(shift, noise, 3 * units)
    both = resample_both(before, with_genuine(before, before.genuine.score + moved), draws=1000, seed=1)
    return change(auc, *both["random"])


def test_what_stays_gains_nothing_in_any_draw() -> None:
    same = auc_change(UNITS, 0.0)
    assert same.bounds() == (0.0, 0.0)
    assert same.gain == 0.0


def test_a_gain_of_every_unit_is_a_gain_and_noise_is_none() -> None:
    better = auc_change(UNITS, 0.1)
    assert better.bounds()[0] > 0
    low, high = auc_change(UNITS, 0.0, noise=0.05).bounds()
    assert low < 0 < high or high < 0


def test_bounds_are_never_narrower_than_the_percentiles_and_a_handful_of_units_bounds_nothing() -> None:
    better = auc_change(UNITS, 0.05)
    low, high = better.percentiles()
    assert better.bounds()[0] <= low <= better.gain <= high <= better.bounds()[1]
    assert auc_change(5, 0.1).bounds() == (-np.inf, np.inf)
