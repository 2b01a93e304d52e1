"""A log-likelihood ratio whose map does not fit is left out of the evidence, and said; the error rates stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_export.calibration_loss import Cost, Loss, drop_broken
from tests.tiny import tiny_calibration

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
