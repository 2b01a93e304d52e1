"""Between knots a curve takes the cautious side, and thresholds at a rate are knots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.core.evidence import GenuineCurve, ImpostorCurve, fmr_at, fnmr_at, highest_threshold, lowest_threshold

FMR = ImpostorCurve(
    impostor="random",
    k=1,
    aggregation="single",
    thresholds=(0.0, 0.25, 0.5),
    value=(1.0, 0.1, 0.0),
    low=(0.9, 0.05, 0.0),
    high=(1.0, 0.2, 0.01),
)
FNMR = GenuineCurve(
    units=60,
    k=1,
    aggregation="single",
    thresholds=(0.25, 0.5, 0.75),
    value=(0.0, 0.1, 1.0),
    low=(0.0, 0.05, 0.9),
    high=(0.05, 0.2, 1.0),
)


@pytest.mark.parametrize(
    ("threshold", "value"),
    [(-5.0, 1.0), (0.0, 1.0), (0.2499, 1.0), (0.25, 0.1), (0.4, 0.1), (0.5, 0.0), (9.0, 0.0)],
)
def test_fmr_is_that_of_the_knot_below(threshold: float, value: float) -> None:
    assert fmr_at(FMR, threshold).value == value


@pytest.mark.parametrize(
    ("threshold", "value"),
    [(-5.0, 0.0), (0.25, 0.0), (0.2501, 0.1), (0.5, 0.1), (0.51, 1.0), (0.75, 1.0), (0.76, 1.0)],
)
def test_fnmr_is_that_of_the_knot_above(threshold: float, value: float) -> None:
    assert fnmr_at(FNMR, threshold).value == value


def test_beyond_the_last_knot_the_bound_is_one_and_nothing_is_certain() -> None:
    below, above = fmr_at(FMR, -1.0), fnmr_at(FNMR, 1.0)
    assert (below.low, below.high) == (0.9, 1.0)
    assert (above.low, above.high) == (0.9, 1.0)


@pytest.mark.parametrize(("rate", "threshold"), [(1.0, 0.0), (0.5, 0.25), (0.2, 0.25), (0.1, 0.5), (0.01, 0.5)])
def test_lowest_threshold_meets_the_rate(rate: float, threshold: float) -> None:
    assert lowest_threshold(FMR, rate) == threshold


@pytest.mark.parametrize(("rate", "threshold"), [(1.0, 0.75), (0.5, 0.5), (0.2, 0.5), (0.1, 0.25), (0.05, 0.25)])
def test_highest_threshold_meets_the_rate(rate: float, threshold: float) -> None:
    assert highest_threshold(FNMR, rate) == threshold


def test_no_threshold_is_given_below_the_floor() -> None:
    assert lowest_threshold(FMR, 0.0099) is None
    assert highest_threshold(FNMR, 0.049) is None


@given(a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_rates_are_monotone_in_the_threshold(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    assert fmr_at(FMR, low).high >= fmr_at(FMR, high).high
    assert fmr_at(FMR, low).value >= fmr_at(FMR, high).value
    assert fnmr_at(FNMR, low).high <= fnmr_at(FNMR, high).high
    assert fnmr_at(FNMR, low).low <= fnmr_at(FNMR, high).low


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": (0.0, 0.0, 0.5)},
        {"thresholds": (0.0, 0.1, 0.5)},  # 0.1 is no float32
        {"value": (0.1, 0.2, 0.3), "high": (1.0, 1.0, 1.0), "low": (0.0, 0.0, 0.0)},
        {"low": (0.9, 0.15, 0.0)},
        {"value": (1.0, 0.1)},
        {"surprise": 1},
    ],
)
def test_a_curve_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ImpostorCurve.model_validate({**FMR.model_dump(), **change})


def test_float32_thresholds_are_found_again_exactly() -> None:
    threshold = float(np.float32(0.1))
    curve = FMR.model_copy(update={"thresholds": (0.0, threshold, 0.5)})
    assert fmr_at(curve, float(np.float32(0.1))).value == 0.1
    assert fmr_at(ImpostorCurve.model_validate_json(curve.model_dump_json()), threshold).value == 0.1
