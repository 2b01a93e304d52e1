"""What is chosen follows from figures alone; here they are made up, so that no clock decides a test."""

from __future__ import annotations

import pytest

from app.settings import Settings
from app.tuning.choice import (
    MOST_MS,
    Figure,
    Layout,
    choose_batch,
    choose_batch_ms,
    choose_layout,
    layouts,
    middle,
)

DEFAULT, THREADED = Layout(2, 1), Layout(1, 2)


def rates(**by_size: float) -> dict[int, Figure]:
    """Figures by size, such as b4=100.0, of batches that take a millisecond."""
    return {int(name[1:]): Figure(rate, 1.0) for name, rate in by_size.items()}


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [
        (1, {(1, 1)}),
        (2, {(1, 1), (1, 2), (2, 1)}),
        (3, {(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)}),
        (4, {(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (4, 1)}),
    ],
)
def test_layouts_use_no_more_than_the_cpus(cpus: int, expected: set[tuple[int, int]]) -> None:
    assert {(one.processes, one.threads) for one in layouts(cpus)} == expected


@pytest.mark.parametrize("cpus", [1, 2, 3, 6, 16, 96])
def test_default_layout_is_always_among_those_measured(cpus: int) -> None:
    assert Layout(cpus, 1) in layouts(cpus)


@pytest.mark.parametrize(("rate", "chosen"), [(104.9, DEFAULT), (105.1, THREADED), (60.0, DEFAULT)])
def test_layout_replaces_the_default_only_where_it_is_clearly_better(rate: float, chosen: Layout) -> None:
    measured = {DEFAULT: {"m": rates(b1=100)}, THREADED: {"m": rates(b1=rate)}}
    assert choose_layout(measured, DEFAULT)[0] == chosen


def test_slow_bundle_weighs_as_much_as_a_fast_one() -> None:
    """Twice as fast on the fast bundle, less than half as fast on the slow one: no gain, whatever the sum says."""
    measured = {
        DEFAULT: {"fast": rates(b1=1000), "slow": rates(b1=10)},
        THREADED: {"fast": rates(b1=2000), "slow": rates(b1=4.5)},
    }
    chosen, times = choose_layout(measured, DEFAULT)
    assert chosen == DEFAULT
    assert times[THREADED] == pytest.approx(0.9**0.5)
    assert times[DEFAULT] == pytest.approx(1.0)


def test_layout_counts_by_its_best_batch() -> None:
    measured = {DEFAULT: {"m": rates(b1=90, b8=100)}, THREADED: {"m": rates(b1=120, b8=30)}}
    assert choose_layout(measured, DEFAULT)[0] == THREADED


def test_smallest_batch_that_is_nearly_the_best_is_chosen() -> None:
    assert choose_batch(rates(b1=50, b2=96.9, b4=97.1, b8=100, b16=99)) == 4


def test_batch_that_takes_too_long_is_not_chosen_however_fast() -> None:
    assert choose_batch({1: Figure(10, 40), 2: Figure(12, 49), 4: Figure(100, MOST_MS + 0.1)}) == 2
    assert choose_batch({1: Figure(10, 100), 2: Figure(12, 160)}) == 1


@pytest.mark.parametrize(("taken", "expected"), [([0.3, 2.0], 5), ([7.2, 12.01, 3.0], 13), ([90.0], 50)])
def test_batch_ms_is_what_the_slowest_takes_rounded_up_within_bounds(taken: list[float], expected: int) -> None:
    assert choose_batch_ms(taken) == expected


def test_no_more_is_written_than_the_default() -> None:
    assert Settings().batch_ms == MOST_MS


def test_one_outlier_among_three_changes_nothing() -> None:
    assert middle([Figure(10, 3), Figure(11, 2), Figure(500, 90)]) == Figure(11, 3)
