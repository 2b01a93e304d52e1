"""Runs cost as little as they can, hold everyone once, and no one waits for ever."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.runs import FIRST_COME, MOST_WINDOWS, alike_that_fit, cheapest, first_that_fit

LENGTHS = st.lists(st.integers(1, 100), max_size=8)


def every_cut(places: Sequence[int]) -> Iterator[list[Sequence[int]]]:
    for marks in itertools.product((False, True), repeat=max(0, len(places) - 1)):
        ends = [end for end, mark in enumerate(marks, 1) if mark]
        yield [places[a:b] for a, b in itertools.pairwise([0, *ends, len(places)])]


def cost(runs: Sequence[Sequence[int]], lengths: Sequence[int], run_steps: float) -> float:
    return sum(run_steps + len(run) * max(lengths[place] for place in run) for run in runs)


@given(LENGTHS, st.floats(0, 50), st.integers(1, 300))
def test_no_other_cut_of_the_sorted_lengths_is_cheaper(lengths: list[int], run_steps: float, most_steps: int) -> None:
    runs = cheapest(lengths, run_steps, most_steps)
    assert sorted(itertools.chain.from_iterable(runs)) == list(range(len(lengths)))

    def fits(run: Sequence[int]) -> bool:
        return len(run) == 1 or sum(lengths[place] for place in run) <= most_steps

    assert all(map(fits, runs))
    if lengths:
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        allowed = (cut for cut in every_cut(order) if all(map(fits, cut)))
        assert cost(runs, lengths, run_steps) == pytest.approx(min(cost(cut, lengths, run_steps) for cut in allowed))


def test_equal_lengths_run_together_up_to_the_most() -> None:
    assert cheapest([7, 7, 7], 5, 1000) == [[0, 1, 2]]
    assert sorted(map(len, cheapest([7] * (MOST_WINDOWS + 1), 5, 1e9))) == [1, MOST_WINDOWS]


def test_padding_is_bought_where_it_is_cheaper_than_another_run() -> None:
    assert len(cheapest([10, 10, 14], 9, 1000)) == 1  # eight steps of padding
    assert sorted(map(sorted, cheapest([10, 10, 14], 7, 1000))) == [[0, 1], [2]]


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(1, 4)), min_size=1, max_size=12), st.integers(1, 200))
def test_a_batch_keeps_to_its_time_and_its_first_always_runs(items: list[tuple[int, int]], limit: int) -> None:
    lengths, seconds = [length for length, _ in items], [float(length * count) for length, count in items]
    chosen = alike_that_fit(seconds, lengths, limit)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 1 or sum(seconds[place] for place in chosen) <= limit
    early = first_that_fit(seconds, FIRST_COME * limit)
    assert set(range(early)) <= set(chosen)


def test_the_rest_of_the_time_goes_to_those_who_are_like_the_first() -> None:
    lengths = [10, 90, 12, 50, 10, 11]
    assert alike_that_fit([float(one) for one in lengths], lengths, 45.0) == [0, 2, 4, 5]


def test_whoever_fits_runs_whatever_their_length() -> None:
    assert alike_that_fit([1.0, 9.0, 3.0], [1, 9, 3], 13.0) == [0, 1, 2]


def test_each_batch_of_a_long_queue_takes_its_first_until_none_is_left() -> None:
    waiting = [(place, 10 + 37 * place % 90) for place in range(60)]
    batches = 0
    while waiting:
        lengths = [length for _, length in waiting[:MOST_WINDOWS]]
        chosen = alike_that_fit([float(one) for one in lengths], lengths, 200.0)
        waiting = [one for place, one in enumerate(waiting) if place not in chosen]
        batches += 1
    assert batches < 25
