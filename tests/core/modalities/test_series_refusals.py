"""What the series modality does to series that it cannot or must not take: one documented error, never another."""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import numpy as np
import pytest

from app.core.errors import InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.core.modalities import create
from app.core.modalities.base import Limits
from app.core.modalities.series.params import MAX_NUMBERS
from tests.core.modalities.recordings import PARAMS, PEN, REFUSE_LONG, ecg, prepared

ROWS = ecg(1.0).tolist()
FILL: dict[str, Any] = {"gaps": "interpolate", "max_gap": 8}


def changed(step: int, row: Any) -> list[Any]:
    return [*ROWS[:step], row, *ROWS[step + 1 :]]


@pytest.mark.parametrize("item", [{}, {"text": "a"}, {"values": "12"}, {"values": {"0": [1]}}, {"values": None}])
def test_item_without_a_list_of_values_is_an_invalid_request(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        create("series", PARAMS, {}).prepare(item, Limits())


def test_unknown_member_is_named() -> None:
    with pytest.raises(InvalidRequest, match="'unit'"):
        create("series", PARAMS, {}).prepare({"values": ROWS, "rate": 250, "unit": "V"}, Limits())


WRONG = {
    "one level": [0.5] * 250,
    "three levels": [[[1.0, 2.0]]] * 250,
    "a deeper array in one place": changed(7, [1.0, [2.0]]),
    "an object": changed(7, {"a": 1, "b": 2}),
    "a null for a step": changed(7, None),
    "a string for a step": changed(7, "ab"),
    "a string for a number": changed(7, [1.0, "2.0"]),
    "true for a number": changed(7, [1.0, True]),
    "ragged, one short": changed(249, [1.0]),
    "ragged, one long": changed(0, [1.0, 2.0, 3.0]),
    "an empty step": changed(3, []),
    "one channel": [[1.0]] * 250,
    "three channels": [[1.0, 2.0, 3.0]] * 250,
    "channels x steps": np.transpose(ecg(1.0))[:, :250].tolist() * 100,
    "arrays of numpy": list(ecg(1.0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_structure_is_an_invalid_request(name: str) -> None:
    with pytest.raises(InvalidRequest):
        prepared(WRONG[name])


def test_wrong_channel_count_says_which_channels_are_meant_and_where() -> None:
    with pytest.raises(InvalidRequest, match=r"2 numbers: lead I in mV, lead II in mV; step 9,"):
        prepared(changed(9, [1.0]))


def test_many_channels_are_not_all_listed() -> None:
    channels = [{"name": f"c{place}", "unit": "V"} for place in range(40)]
    with pytest.raises(InvalidRequest, match=r"40 numbers: c0 in V, .*c7 in V, \.\.\.;"):
        prepared(ROWS, channels=channels)


MONSTERS = {
    "beyond float32": 1e39,
    "below float32": -1e39,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "not a number": math.nan,
    "an integer beyond float32": 10**50,
    "an integer beyond float64": 10**400,
    "an integer beyond printing": -(10**5000),
    "as JSON overflows": json.loads("1e400"),
}


@pytest.mark.parametrize("name", MONSTERS)
@pytest.mark.parametrize("params", [{}, FILL], ids=["gaps refused", "gaps filled"])
def test_number_that_float32_cannot_hold_is_unusable(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(UnusableInput, match="too large"):
        prepared(changed(7, [MONSTERS[name], 1.0]), **params)


def test_a_nan_is_never_taken_for_a_gap() -> None:
    with pytest.raises(UnusableInput, match="too large"):
        prepared(changed(7, [math.nan, None]), **FILL)


def test_numbers_that_normalisation_carries_beyond_float32_are_unusable() -> None:
    with pytest.raises(UnusableInput, match="too large"):
        prepared([[1e38, 0.0, 0.0]] * 3 + [[0.0, 1.0, 1.0]], base=PEN, scale=[1e-30, 1.0, 1.0])


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[:99]])
def test_too_few_steps_are_unusable(rows: Any) -> None:
    with pytest.raises(UnusableInput, match=f"has {len(rows)} steps at 250 Hz; send at least 100"):
        prepared(rows)


def test_enough_steps_are_counted_at_the_rate_of_the_graph() -> None:
    slow, fast = ecg(1.0, 100.0).tolist(), ecg(1.0, 1000.0).tolist()
    assert prepared(slow[:40], rate=100.0).windows[0]["mask"].sum() == 100
    with pytest.raises(UnusableInput, match="has 98 steps"):
        prepared(slow[:39], rate=100.0)
    with pytest.raises(UnusableInput, match="has 98 steps"):
        prepared(fast[:390], rate=1000.0)


def test_one_sample_is_refused_even_where_resampling_would_make_it_enough() -> None:
    with pytest.raises(UnusableInput, match="send at least 2"):
        prepared(ROWS[:1], rate=62.5, min_steps=2)


CONSTANT = {
    "zeros": np.zeros((250, 2)),
    "one level a channel": np.tile([3.0, -700.0], (250, 1)),
    "rounding only": 1e6 + np.random.default_rng(0).normal(0, 1e-3, (250, 2)),
}


@pytest.mark.parametrize("rate", [None, 500.0])
@pytest.mark.parametrize("normalisation", ["none", "per_item"])
@pytest.mark.parametrize("name", CONSTANT)
def test_constant_series_is_unusable(name: str, normalisation: str, rate: float | None) -> None:
    with pytest.raises(UnusableInput, match="constant"):
        prepared(CONSTANT[name], normalisation=normalisation, rate=rate)


def test_one_constant_channel_is_unusable_only_where_it_would_be_divided_by_its_deviation() -> None:
    numbers = ecg() * [1.0, 0.0] + [0.0, 4.0]
    with pytest.raises(UnusableInput, match="a channel of the series is constant"):
        prepared(numbers, normalisation="per_item")
    assert (prepared(numbers).windows[0]["values"][:, 1] == 4.0).all()


def test_gaps_are_unusable_where_the_bundle_declares_no_policy() -> None:
    with pytest.raises(UnusableInput, match="gaps"):
        prepared(changed(7, [None, 1.0]))


@pytest.mark.parametrize(("start", "stop"), [(100, 109), (0, 9), (241, 250)])
def test_gap_beyond_the_declared_length_is_unusable_at_edges_too(start: int, stop: int) -> None:
    rows = [[None, two] if start <= step < stop else [one, two] for step, (one, two) in enumerate(ROWS)]
    with pytest.raises(UnusableInput, match="gap of 9 steps; at most 8"):
        prepared(rows, **FILL)


def test_gap_longer_in_time_than_declared_is_unusable_at_any_rate() -> None:
    for rate, count in ((1000.0, 33), (100.0, 4)):
        rows = ecg(4.0, rate).tolist()
        rows[100 : 100 + count] = [[one, None] for one, _ in rows[100 : 100 + count]]
        with pytest.raises(UnusableInput, match=f"gap of {count} steps"):
            prepared(rows, rate=rate, **FILL)


def test_channel_of_nulls_alone_is_unusable() -> None:
    with pytest.raises(UnusableInput, match="no number"):
        prepared([[one, None] for one, _ in ROWS], gaps="interpolate", max_gap=10_000)


@pytest.mark.parametrize("rate", [True, "250", None, [250], {}])
def test_rate_that_is_no_number_is_an_invalid_request(rate: Any) -> None:
    with pytest.raises(InvalidRequest, match="must be a number"):
        create("series", PARAMS, {}).prepare({"values": ROWS, "rate": rate}, Limits())


@pytest.mark.parametrize("rate", [0, -250, 62.4, 1000.1, 1e-300, math.inf, math.nan, 10**400])
def test_rate_outside_the_bounds_of_the_bundle_is_an_invalid_request(rate: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"62\.5 to 1000 Hz"):
        prepared(ROWS, rate=rate)


def test_any_other_rate_is_refused_where_the_bundle_does_not_resample() -> None:
    fixed: dict[str, Any] = {"resample": None, "min_rate": None, "max_rate": None}
    assert prepared(ROWS, rate=250, **fixed).notices == ()
    with pytest.raises(InvalidRequest, match="series of 250 Hz"):
        prepared(ROWS, rate=251, **fixed)


def test_any_rate_is_refused_for_untimed_series() -> None:
    stroke = np.random.default_rng(0).normal(size=(9, 3))
    assert prepared(stroke, base=PEN).windows
    with pytest.raises(InvalidRequest, match="without a rate"):
        prepared(stroke, base=PEN, rate=100)


def test_long_series_is_too_large_where_the_bundle_refuses_it() -> None:
    whole = ecg(4.0)
    assert prepared(whole, **REFUSE_LONG).windows
    with pytest.raises(TooLarge, match="1001 steps at 250 Hz; at most 1000"):
        prepared(np.vstack([whole, whole[:1]]), **REFUSE_LONG)
    with pytest.raises(TooLarge, match="at most 64"):
        prepared(np.ones((65, 3)), base=PEN)


def test_limits_on_seconds_and_steps_hold_at_their_edge() -> None:
    assert prepared(ecg(4.0), Limits(max_seconds=4.0)).windows
    with pytest.raises(TooLarge, match=r"4 seconds; at most 3\.99"):
        prepared(ecg(4.0), Limits(max_seconds=3.99))
    with pytest.raises(TooLarge, match="4 seconds"):
        prepared(ecg(4.0, 1000.0), Limits(max_seconds=3.99), rate=1000.0)
    assert prepared(ecg(20.0, 500.0), rate=500.0).windows
    with pytest.raises(TooLarge, match="5001 steps"):
        prepared([*ecg(20.0, 500.0).tolist(), [0.0, 0.0]], rate=500.0)


def test_untimed_series_are_bounded_by_steps_alone() -> None:
    assert prepared(np.random.default_rng(0).normal(size=(64, 3)), Limits(max_seconds=1e-9), base=PEN).windows


HUGE: dict[str, tuple[list[Any], float, type[TwinserveError]]] = {
    "steps": ([[0.0, 1.0]] * 20_000_000, 250.0, TooLarge),
    "steps that are none": ([0.0] * 20_000_000, 250.0, TooLarge),
    "steps at the highest rate": ([[0.0, 1.0]] * 20_000_000, 1000.0, TooLarge),
    "one step": ([[0.0] * 20_000_000] * 200, 250.0, InvalidRequest),
    "a deep step": ([[[0.0] * 20_000_000, 1.0]] * 200, 250.0, InvalidRequest),
}


@pytest.mark.parametrize("name", HUGE)
def test_millions_of_numbers_fail_fast(name: str) -> None:
    rows, rate, kind = HUGE[name]
    start = time.process_time()
    with pytest.raises(kind):
        prepared(rows, rate=rate)
    assert time.process_time() - start < 0.1


def test_numbers_in_all_are_bounded_though_steps_and_seconds_are_within_limits() -> None:
    channels = [{"name": f"c{place}", "unit": "V"} for place in range(256)]
    rows = [[0.0] * 256] * (MAX_NUMBERS // 256 + 1)
    most: dict[str, Any] = {
        "max_steps": 16_384,
        "ladder": [16_384],
        "long": "refuse",
        "window_steps": None,
        "hop_steps": None,
    }
    start = time.process_time()
    with pytest.raises(TooLarge, match="4194304 numbers"):
        prepared(rows, rate=1000.0, channels=channels, **most)
    assert time.process_time() - start < 0.1


def test_largest_item_is_prepared_within_seconds() -> None:
    rows = np.random.default_rng(0).normal(size=(MAX_NUMBERS // 8, 8)).tolist()
    channels = [{"name": f"c{place}", "unit": "V"} for place in range(8)]
    most: dict[str, Any] = {"max_steps": MAX_NUMBERS // 8, "hop_steps": 1000, "channels": channels}
    start = time.process_time()
    assert len(prepared(rows, Limits(max_seconds=1e9), **most).windows) == 525
    assert time.process_time() - start < 5


def test_damaged_rows_raise_nothing_but_documented_errors_that_echo_no_number() -> None:
    rng = random.Random(7)
    junk: list[Any] = [
        None,
        True,
        "777123",
        [],
        [777123.0],
        {},
        10**400,
        1e39,
        math.nan,
        -0.0,
        [None, None],
        [777123, "x"],
        3,
    ]
    refused = 0
    for _ in range(300):
        rows: list[Any] = [list(row) for row in ROWS]
        for _ in range(rng.randint(1, 4)):
            step = rng.randrange(len(rows))
            if rng.random() < 0.5 or not isinstance(rows[step], list):
                rows[step] = rng.choice(junk)
            else:
                rows[step][rng.randrange(max(1, len(rows[step]))) : 1] = [rng.choice(junk)]
        try:
            prepared(rows, rate=rng.choice([250, 100.0, 500, 3]), **rng.choice([{}, FILL]))
        except (InvalidRequest, UnusableInput, TooLarge) as error:
            refused += 1
            assert error.detail  # noqa: PT017 - either outcome is fine, an error without a sentence is not
            assert "777123" not in error.detail  # noqa: PT017
    assert refused > 200
