"""Every verdict, and every reason that stands in its way or beside it."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.evidence import Calibration, Choice, Judgement, Selectors, choose, describe_points, judge
from tests.core.evidence import synthetic

TODAY = synthetic.TODAY


@functools.cache
def calibration(guard_band: float = 0.0) -> Calibration:
    return synthetic.calibrate(guard_band=guard_band)


def at(choice: Choice, score: float, **given: Any) -> Judgement:
    situation: dict[str, Any] = {"prior": None, "outside": (), "identical": False, "today": TODAY}
    return judge(choice, np.float32(score), **{**situation, **given})


def codes(judgement: Judgement) -> list[str]:
    return [reason.code for reason in judgement.reasons]


def test_equality_with_the_threshold_is_a_match() -> None:
    choice = choose(calibration(), "released", Selectors())
    assert choice.threshold is not None
    assert at(choice, float(choice.threshold)).verdict == "match"
    assert at(choice, float(np.nextafter(choice.threshold, np.float32(-9)))).verdict == "no_match"


def test_a_score_inside_the_guard_band_is_undetermined() -> None:
    choice = choose(calibration(1e-3), "released", Selectors(threshold=0.5))
    assert (at(choice, 0.5005).verdict, codes(at(choice, 0.5005))) == ("undetermined", ["within_guard_band"])
    assert (at(choice, 0.502).verdict, codes(at(choice, 0.502))) == ("match", [])
    assert at(choice, 0.498).verdict == "no_match"


def test_a_threshold_of_zero_decides() -> None:
    choice = choose(None, "released", Selectors(threshold=0.0))
    assert at(choice, 0.1).verdict == "match"
    assert at(choice, -0.1).verdict == "no_match"


def test_between_two_thresholds_nothing_is_decided() -> None:
    choice = choose(calibration(), "released", Selectors(max_fmr=0.01, max_fnmr=0.1))
    assert choice.threshold is not None
    assert choice.threshold_low is not None
    middle = at(choice, float(choice.threshold + choice.threshold_low) / 2)
    assert (middle.verdict, codes(middle)) == ("undetermined", ["between_thresholds"])
    assert at(choice, float(choice.threshold)).verdict == "match"
    assert at(choice, float(choice.threshold_low) - 1e-3).verdict == "no_match"


@pytest.mark.parametrize("sides", [("a",), ("b",), ("a", "b")])
def test_an_item_outside_the_population_makes_any_verdict_undetermined(sides: Sequence[str]) -> None:
    for stored, selectors in ((calibration(), Selectors()), (calibration(), Selectors(threshold=0.0))):
        judged = at(choose(stored, "released", selectors), 9.0, outside=sides)
        assert judged.verdict == "undetermined"
        assert [(r.code, r.side) for r in judged.reasons] == [("outside_calibration", side) for side in sides]


@pytest.mark.parametrize(("status", "code"), [("released", "uncalibrated"), ("demonstration", "insufficient_evidence")])
def test_without_evidence_there_is_a_score_but_no_verdict_unless_a_threshold_is_given(status: Any, code: str) -> None:
    stored = None if code == "uncalibrated" else calibration()
    judged = at(choose(stored, status, Selectors()), 0.5)
    assert (judged.verdict, codes(judged), judged.operating_point) == ("undetermined", [code], None)
    assert (judged.log_likelihood_ratio is None) == (stored is None)
    judged = at(choose(stored, status, Selectors(threshold=0.2)), 0.5)
    assert (judged.verdict, codes(judged)) == ("match", [code])


def test_identical_items_and_stale_evidence_are_said_beside_the_verdict() -> None:
    choice = choose(calibration(), "released", Selectors())
    assert codes(at(choice, 9.0, today=TODAY + datetime.timedelta(days=30))) == []
    late = at(choice, 9.0, identical=True, today=TODAY + datetime.timedelta(days=31))
    assert (late.verdict, codes(late)) == ("match", ["identical_items", "calibration_stale"])


def test_all_reasons_that_apply_are_reported() -> None:
    choice = choose(calibration(1e-3), "demonstration", Selectors(threshold=0.5))
    late = TODAY + datetime.timedelta(days=99)
    judged = at(choice, 0.5, outside=("b",), identical=True, today=late)
    assert judged.verdict == "undetermined"
    assert codes(judged) == [
        "outside_calibration",
        "within_guard_band",
        "insufficient_evidence",
        "identical_items",
        "calibration_stale",
    ]
    assert all(reason.detail for reason in judged.reasons)


@given(score=st.floats(-6, 9, width=32), prior=st.floats(0, 1))
def test_ratio_and_posterior_are_clipped_and_enclosed(score: float, prior: float) -> None:
    judged = at(choose(calibration(), "released", Selectors()), score, prior=prior)
    ratio = judged.log_likelihood_ratio
    assert ratio is not None
    assert -math.log(60) - 1e-4 <= ratio <= math.log(60 * 59 / 2) + 1e-4
    assert judged.posterior is not None
    assert 0.0 <= judged.posterior["low"] <= judged.posterior["value"] <= judged.posterior["high"] <= 1.0
    assert judged.fmr_at_score is not None
    assert judged.fmr_at_score["value"] <= judged.fmr_at_score["high"]


def test_there_is_no_posterior_without_a_prior_or_without_a_ratio() -> None:
    assert at(choose(calibration(), "released", Selectors()), 1.0).posterior is None
    assert at(choose(None, "released", Selectors(threshold=0.1)), 1.0, prior=0.5).posterior is None


def test_uncertainty_of_the_fit_shows_in_the_posterior() -> None:
    judged = at(choose(calibration(), "released", Selectors()), 2.0, prior=0.5)
    assert judged.posterior is not None
    assert judged.posterior["low"] < judged.posterior["value"] < judged.posterior["high"]


def test_what_is_returned_can_be_written_as_json_with_the_shortest_float32() -> None:
    judged = at(choose(calibration(), "released", Selectors(threshold=0.1)), 0.5, prior=0.5)
    text = orjson.dumps(judged.operating_point, option=orjson.OPT_SERIALIZE_NUMPY)
    assert b'"threshold":0.1,' in text
    orjson.dumps([judged.posterior, judged.fmr_at_score, judged.log_likelihood_ratio])


def test_points_are_described_with_one_default() -> None:
    described = describe_points(calibration())
    assert [(p["name"], p["impostor"]) for p in described if p["default"]] == [(calibration().defaults["near"], "near")]
    assert set(described[0]) == {"name", "threshold", "impostor", "fmr", "fnmr", "verified", "default"}
    orjson.dumps(described, option=orjson.OPT_SERIALIZE_NUMPY)
    assert describe_points(None) == []
