"""Beats come while the loop turns, and say for how many the oldest batch has been under way."""

from __future__ import annotations

import asyncio

import pytest

from app.runtime.heart import Heart, beats_in, interval_s

pytestmark = pytest.mark.anyio


async def test_beats_count_how_long_the_oldest_batch_has_been_under_way() -> None:
    heard: list[int] = []
    batches: set[str] = set()
    heart = Heart(0.01, lambda: batches, heard.append)

    async def beats(count: int) -> list[int]:
        before = len(heard)
        while len(heard) < before + count:
            await asyncio.sleep(0.001)
        return heard[before : before + count]

    heart.start()
    assert await beats(2) == [0, 0]
    batches.add("slow")
    assert await beats(3) == [1, 2, 3]
    batches.add("young")
    assert (await beats(1))[0] >= 4
    batches.discard("slow")
    assert (await beats(1))[0] < 4
    batches.clear()
    assert await beats(1) == [0]
    heart.stop()
    count = len(heard)
    await asyncio.sleep(0.02)
    assert len(heard) == count


async def test_time_in_which_the_process_did_not_run_is_no_time_of_a_batch() -> None:
    loop, heard = asyncio.get_running_loop(), list[int]()
    heart = Heart(100.0, lambda: ["slow"], heard.append)
    heart.start()
    hours = 3 * 3600.0
    loop.time, real = (lambda: real() + hours), loop.time  # type: ignore[method-assign]
    while len(heard) < 2:
        await asyncio.sleep(0)
    assert heard == [1, 2]
    heart.stop()


def test_time_is_cut_into_beats_of_at_most_a_second_and_ten_of_them_at_least() -> None:
    assert (interval_s(30.0), beats_in(30.0)) == (1.0, 30)
    assert (interval_s(2.0), beats_in(2.0)) == (0.2, 10)
    assert beats_in(10.5) == 11
