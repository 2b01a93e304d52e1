"""What a request may ask to be judged at, and what it is told when the evidence does not support it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from app.core.errors import InvalidRequest, OperatingPointUnavailable
from app.core.evidence import Calibration, Choice, Selectors, choose, fnmr_at, lowest_threshold
from tests.core.evidence import synthetic


@functools.cache
def calibration(genuine: bool = True) -> Calibration:
    return synthetic.calibrate(genuine=genuine)


@functools.cache
def with_external() -> Calibration:
    """The calibration with a type `afar` that another population measured."""
    whole = calibration().model_dump()
    whole["impostors"] += (
        {"type": "afar", "description": "elsewhere", "external": True, "population": "others", "unit_pairs": 500},
    )
    whole["impostor_curves"] += ({**whole["impostor_curves"][0], "impostor": "afar"},)
    return Calibration.model_validate(whole)


def released(**selectors: Any) -> Choice:
    return choose(calibration(), "released", Selectors(**selectors))


def shown(choice: Choice) -> Any:
    assert choice.operating_point is not None
    return choice.operating_point


def test_without_selectors_the_stored_default_is_taken() -> None:
    point = shown(released())
    stored = calibration()
    assert point["source"] == "default"
    assert point["name"] == stored.defaults[stored.default_impostor]
    assert point["impostor"] == {"type": "near", "description": "one nearby"}
    assert point["calibration"]["identities"] == 60
    assert point["review_rate"] is None
    assert point["threshold_low"] is None
    assert list(point) == [
        "name",
        "source",
        "threshold",
        "threshold_low",
        "impostor",
        "fmr",
        "fnmr",
        "fmr_by_impostor",
        "review_rate",
        "calibration",
    ]


def test_a_named_point_and_max_fmr_of_the_same_rate_are_one_threshold() -> None:
    for impostor in ("random", "near"):
        named = released(operating_point="fmr_1e-2", impostor=impostor)
        free = released(max_fmr=1e-2, impostor=impostor)
        assert named.threshold == free.threshold
        assert shown(named)["source"] == "named"
        assert (shown(free)["source"], shown(free)["name"]) == ("max_fmr", None)
        assert shown(free)["fmr"]["high"] <= 1e-2
        assert (named.label, free.label) == ("fmr_1e-2", "max_fmr")


def test_another_impostor_type_has_its_own_default() -> None:
    assert shown(released(impostor="random"))["name"] == calibration().defaults["random"]
    assert released(impostor="random").threshold != released().threshold


@pytest.mark.parametrize(
    ("selectors", "drop"),
    [
        ({"threshold": 0.0, "max_fmr": 0.1}, "drop threshold"),
        ({"operating_point": "eer", "max_fmr": 0.1}, "drop max_fmr"),
        ({"operating_point": "eer", "threshold": 0.1}, "drop threshold"),
        ({"operating_point": "eer", "max_fmr": 0.1, "threshold": 0.1}, "drop max_fmr and threshold"),
        ({"max_fnmr": 0.1}, "give max_fmr too"),
        ({"max_fnmr": 0.1, "threshold": 0.5}, "drop max_fnmr"),
        ({"max_fmr": 1.5}, "0 to 1"),
        ({"max_fmr": -0.1}, "0 to 1"),
        ({"max_fmr": float("nan")}, "0 to 1"),
        ({"max_fmr": 0.1, "max_fnmr": 2.0}, "0 to 1"),
        ({"threshold": float("inf")}, "finite"),
        ({"threshold": 1e39}, "finite"),
    ],
)
def test_selectors_that_exclude_each_other_say_which_to_drop(selectors: dict[str, Any], drop: str) -> None:
    for stored in (calibration(), None):
        with pytest.raises(InvalidRequest, match=drop) as caught:
            choose(stored, "released", Selectors(**selectors))
        assert caught.value.code == "invalid_request"
        assert caught.value.pointer is not None


@pytest.mark.parametrize(
    ("selectors", "told"),
    [
        ({"max_fmr": 1e-6}, "no max_fmr below 0.0"),
        ({"max_fmr": 0.0}, "no max_fmr below 0.0"),
        ({"max_fmr": 0.1, "max_fnmr": 1e-3}, "no max_fnmr below 0.0"),
        ({"operating_point": "fmr_1e-8"}, "fmr_1e-1, fmr_1e-2, eer"),
        ({"impostor": "forged"}, "was not measured; this model has random, near"),
        ({"impostor": "forged", "threshold": 0.5}, "was not measured"),
    ],
)
def test_what_the_evidence_does_not_support_is_refused_with_what_it_does(selectors: dict[str, Any], told: str) -> None:
    with pytest.raises(OperatingPointUnavailable, match=told):
        released(**selectors)


def test_the_supported_limit_that_is_told_is_really_supported() -> None:
    with pytest.raises(OperatingPointUnavailable) as caught:
        released(max_fmr=1e-9)
    limit = float(caught.value.detail.split("below ")[1].split(" ")[0])
    assert shown(released(max_fmr=limit))["fmr"]["high"] <= limit


def test_an_external_type_is_reported_but_never_selected() -> None:
    by_type = shown(choose(with_external(), "released", Selectors()))["fmr_by_impostor"]
    assert {name: one["external"] for name, one in by_type.items()} == {"random": False, "near": False, "afar": True}
    with pytest.raises(OperatingPointUnavailable, match="another population only; this model has random, near"):
        choose(with_external(), "released", Selectors(impostor="afar"))


def test_two_rates_that_hold_together_give_one_threshold_and_nothing_to_review() -> None:
    choice = released(max_fmr=0.3, max_fnmr=0.9)
    assert choice.threshold_low is None
    assert shown(choice)["review_rate"] == {"genuine": 0.0, "impostor": 0.0}
    assert shown(choice)["source"] == "max_fmr_max_fnmr"
    assert shown(choice)["fnmr"]["high"] <= 0.9


def test_two_rates_that_do_not_leave_a_zone_to_review() -> None:
    choice = released(max_fmr=0.01, max_fnmr=0.1)
    point = shown(choice)
    assert choice.threshold_low is not None
    assert choice.threshold is not None
    assert choice.threshold_low < choice.threshold
    assert point["fmr"]["high"] <= 0.01
    assert point["fnmr"]["high"] <= 0.1
    assert point["review_rate"]["genuine"] > 0.0
    assert point["review_rate"]["impostor"] > 0.0


def test_a_threshold_of_zero_is_a_threshold_and_is_cast_to_float32() -> None:
    assert released(threshold=0.0).threshold == 0.0
    choice = released(threshold=0.1)
    assert choice.threshold == np.float32(0.1)
    assert isinstance(choice.threshold, np.float32)
    point = shown(choice)
    assert (point["source"], point["name"], point["threshold"]) == ("caller", None, np.float32(0.1))
    curve = calibration().fnmr_curve()
    assert curve is not None
    assert point["fnmr"]["value"] == fnmr_at(curve, float(np.float32(0.1))).value


def test_without_genuine_pairs_fnmr_is_unknown_and_max_fnmr_refused() -> None:
    choice = choose(calibration(genuine=False), "released", Selectors(max_fmr=0.1))
    assert shown(choice)["fnmr"] is None
    assert [reason.code for reason in choice.reasons] == ["fnmr_unknown"]
    with pytest.raises(OperatingPointUnavailable, match="drop max_fnmr"):
        choose(calibration(genuine=False), "released", Selectors(max_fmr=0.1, max_fnmr=0.1))


@pytest.mark.parametrize("kind", ["uncalibrated", "demonstration"])
def test_a_model_without_claims_takes_only_a_threshold(kind: str) -> None:
    stored = None if kind == "uncalibrated" else calibration()
    code = "uncalibrated" if stored is None else "insufficient_evidence"
    for selectors in (Selectors(operating_point="fmr_1e-1"), Selectors(max_fmr=0.1)):
        with pytest.raises(OperatingPointUnavailable, match="give a threshold instead"):
            choose(stored, "demonstration", selectors)
    nothing = choose(stored, "demonstration", Selectors())
    assert (nothing.threshold, nothing.operating_point, nothing.label) == (None, None, "none")
    own = choose(stored, "demonstration", Selectors(threshold=0.5))
    assert own.threshold == 0.5
    assert [reason.code for reason in nothing.reasons] == [reason.code for reason in own.reasons] == [code]
    assert (shown(own)["fmr"] is None) == (stored is None)


def test_an_uncalibrated_model_measured_no_impostor_type() -> None:
    with pytest.raises(OperatingPointUnavailable, match="drop impostor"):
        choose(None, "released", Selectors(impostor="random", threshold=0.5))


def test_guard_band_of_an_uncalibrated_model_follows_its_precision() -> None:
    assert choose(None, "released", Selectors(threshold=0.5), guard_band_floor=1e-3).guard_band == 1e-3


def test_max_fmr_of_one_matches_everything_measured() -> None:
    curve = calibration().fmr_curve("near")
    assert curve is not None
    assert released(max_fmr=1.0).threshold == lowest_threshold(curve, 1.0) == curve.thresholds[0]
