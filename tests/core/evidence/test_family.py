"""A file of references: what each comparison is held to, what all claim together, and which reference it is."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from app.core.errors import OperatingPointUnavailable
from app.core.evidence import (
    Calibration,
    Conclusion,
    Judgement,
    Reason,
    Selectors,
    bound_family,
    choose_each,
    conclude,
)
from app.core.evidence.choosing import share_max_fmr
from app.core.scoring import Verdict
from tests.core.evidence import synthetic

GUARD = 1e-3


@functools.cache
def calibration() -> Calibration:
    return synthetic.calibrate()


def family(sizes: list[int], stored: Calibration | None = None, **selectors: Any) -> dict[str, Any]:
    choices = choose_each(
        stored or calibration(), "released", Selectors(**selectors), sizes, "max", guard_band_floor=1e-5
    )
    return bound_family(choices, sizes, selectors.get("max_fmr"))


def test_a_family_of_one_is_its_comparison() -> None:
    (point,) = (p for p in calibration().operating_points if (p.name, p.impostor) == ("fmr_1e-2", "near"))
    assert family([1], operating_point="fmr_1e-2") == {
        "references": 1,
        "fmr": {"value": point.fmr.value, "high": point.fmr.high},
        "max_fmr_each": None,
    }


def test_rates_of_a_family_add_up_and_never_exceed_one() -> None:
    (point,) = (p for p in calibration().operating_points if (p.name, p.impostor) == ("fmr_1e-2", "near"))
    seven = family([1] * 7, operating_point="fmr_1e-2")["fmr"]
    assert seven["value"] == pytest.approx(7 * point.fmr.value, rel=1e-5)
    assert 7 * point.fmr.high <= seven["high"] <= 7 * point.fmr.high * (1 + 1e-5)
    assert family([1] * 100, operating_point="eer")["fmr"] == {"value": 1.0, "high": 1.0}


@pytest.mark.parametrize("references", [1, 2, 3, 7, 20, 97, 100])
def test_a_family_is_held_to_max_fmr_and_what_is_refused_tells_what_is_not(references: int) -> None:
    with pytest.raises(OperatingPointUnavailable) as caught:
        family([1] * references, max_fmr=1e-9)
    assert caught.value.pointer == "/max_fmr"
    lowest = float(caught.value.detail.split("below ")[1].split(" ")[0])
    if lowest > 1.0:
        assert caught.value.detail.endswith("; send fewer references")
        return
    found = family([1] * references, max_fmr=lowest)
    assert found["fmr"]["high"] <= lowest
    assert found["max_fmr_each"] == lowest / references


def test_a_share_is_rounded_by_less_than_any_rate_can_tell() -> None:
    assert share_max_fmr(0.3, 3) == 0.1  # plain division gives 0.09999999999999999
    assert share_max_fmr(0.1, 1) == 0.1
    for references in range(2, 101):
        assert share_max_fmr(0.05, references) == pytest.approx(0.05 / references, rel=1e-15)


def test_a_rate_that_nobody_measured_makes_the_familys_unknown() -> None:
    assert family([1, 4], threshold=0.5)["fmr"] is None
    # without a threshold the four are never judged, so that they cannot match
    assert family([1, 4], impostor="near")["fmr"] == family([1], impostor="near")["fmr"]
    assert family([4, 4])["fmr"] is None


def test_the_first_reference_of_a_size_that_was_not_measured_is_pointed_at() -> None:
    with pytest.raises(OperatingPointUnavailable) as caught:
        family([1, 1, 4, 4], max_fmr=0.5)
    assert caught.value.pointer == "/references/2/items"


NEAR = Reason("within_guard_band", None, "near")


def judged(verdict: Verdict, *reasons: Reason) -> Judgement:
    return Judgement(verdict, reasons, None, None, None, None)


def concluded(*references: tuple[float, Judgement]) -> Conclusion:
    scores = [np.float32(score) for score, _ in references]
    return conclude(scores, [judgement for _, judgement in references], GUARD)


MATCH, NO, OPEN = judged("match"), judged("no_match"), judged("undetermined", NEAR)


def test_the_highest_match_is_the_best() -> None:
    assert concluded((0.9, MATCH), (0.8, MATCH), (0.1, NO)) == Conclusion("match", 0, ())


def test_none_matches() -> None:
    assert concluded((0.4, NO), (0.4, NO)) == Conclusion("no_match", None, ())


def test_one_that_is_undetermined_hides_what_is_below_it_and_nothing_above() -> None:
    assert concluded((0.9, OPEN), (0.8, MATCH)) == Conclusion("undetermined", None, (NEAR,))
    assert concluded((0.9, MATCH), (0.8, OPEN)) == Conclusion("match", 0, ())
    assert concluded((0.5, OPEN), (0.1, NO)) == Conclusion("undetermined", None, (NEAR,))


def test_a_reference_with_a_stricter_threshold_does_not_stand_in_the_way() -> None:
    assert concluded((0.9, NO), (0.8, MATCH)) == Conclusion("match", 1, ())


@pytest.mark.parametrize(("second", "verdict"), [(0.9, "undetermined"), (0.8995, "undetermined"), (0.898, "match")])
def test_scores_nearer_than_the_guard_band_are_a_tie(second: float, verdict: str) -> None:
    found = concluded((0.9, MATCH), (second, MATCH))
    assert found.verdict == verdict
    assert [reason.code for reason in found.reasons] == (["tie"] if verdict == "undetermined" else [])
    assert concluded((0.9, OPEN), (0.9, OPEN)).reasons[1:] == (NEAR,)


def test_equal_scores_tie_without_any_guard_band() -> None:
    scores = [np.float32(0.9), np.float32(0.9)]
    assert conclude(scores, [MATCH, MATCH], 0.0).verdict == "undetermined"
