"""The engine's promises, on an executor and a clock that the test drives by hand: nothing here sleeps.

One long file, because all of its tests drive that one executor and clock.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import Internal, NotReady, Overloaded, TooLarge, TwinserveError, UnusableInput
from app.runtime.batcher import Batcher
from app.runtime.queue import Deferred, FairQueue, Waiting

pytestmark = pytest.mark.anyio

Outcomes = list[int | TwinserveError]


class ByHand(Executor):
    """Keeps what it is given until the test runs it; `step` runs the oldest."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def step(self) -> None:
        future, work = self.waiting.pop(0)
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)


class Bench:
    """A batcher of numbers that doubles them, with everything about it in the test's hands."""

    def __init__(self, *, cap: int = 4, queue_items: int = 100, queue_ms: float = 1e9, **options: Any) -> None:
        self.executor = ByHand()
        self.now = 0.0
        self.ran: list[list[int]] = []
        self.queued: list[float] = []
        self.batches: list[tuple[int, float]] = []
        self.deaths: list[str] = []
        self.seconds_per_batch = 0.0
        settings: dict[str, Any] = {
            "executor": self.executor,
            "on_queued": self.queued.append,
            "on_batch": lambda items, seconds: self.batches.append((items, seconds)),
            "on_death": self.deaths.append,
            "clock": lambda: self.now,
        }
        self.batcher: Batcher[int, int] = Batcher(
            options.pop("run", self.double), cap=cap, queue_items=queue_items, queue_ms=queue_ms, **settings | options
        )

    def double(self, payloads: Sequence[int]) -> Iterable[int]:
        self.ran.append(list(payloads))
        self.now += self.seconds_per_batch
        return [2 * payload for payload in payloads]

    def call(self, payloads: Sequence[int]) -> asyncio.Task[Outcomes]:
        """A caller with these payloads."""

        async def caller() -> Outcomes:
            with self.batcher.reserve(len(payloads)) as places:
                return await places.submit(payloads)

        return asyncio.get_running_loop().create_task(caller())

    async def step(self) -> None:
        self.executor.step()
        await settle()


async def settle() -> None:
    """Let everything happen that can happen without another batch being run."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_outcomes_come_back_in_the_callers_order() -> None:
    bench = Bench()
    call = bench.call(range(10))
    for _ in range(3):
        await settle()
        await bench.step()
    assert await call == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert bench.ran == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [items for items, _ in bench.batches] == [4, 4, 2]


async def test_a_batch_is_whatever_waits_when_the_slot_is_free() -> None:
    bench = Bench()
    first = bench.call([1])
    await settle()
    others = [bench.call([payload]) for payload in (2, 3, 4, 5, 6)]
    await settle()
    assert len(bench.executor.waiting) == 1
    await bench.step()
    await bench.step()
    await bench.step()
    assert bench.ran == [[1], [2, 3, 4, 5], [6]]
    assert [await call for call in [first, *others]] == [[2], [4], [6], [8], [10], [12]]


async def test_two_slots_hold_two_batches_and_no_more() -> None:
    bench = Bench(in_flight=2)
    call = bench.call(range(12))
    await settle()
    assert len(bench.executor.waiting) == 2
    await bench.step()
    assert len(bench.executor.waiting) == 2
    await bench.step()
    await bench.step()
    assert len(await call) == 12


async def test_in_line_work_is_done_on_the_loop_and_callers_of_one_turn_share_a_batch() -> None:
    bench = Bench(inline_below_s=1.0)
    calls = [bench.call([payload]) for payload in (1, 2, 3, 4, 5)]
    assert [await call for call in calls] == [[2], [4], [6], [8], [10]]
    assert bench.ran == [[1, 2, 3, 4], [5]]


async def test_in_line_work_lets_the_loop_breathe_between_batches() -> None:
    bench = Bench(inline_below_s=1.0, cap=1)
    call = bench.call(range(5))
    turns = []
    while not call.done():
        turns.append(len(bench.ran))
        await asyncio.sleep(0)
    assert max(later - sooner for sooner, later in itertools.pairwise(turns)) == 1


async def test_cancelled_caller_does_not_stall_neighbours_and_is_not_computed() -> None:
    bench = Bench()
    running = bench.call([1])
    await settle()
    before, gone, after = bench.call([2]), bench.call([3, 33]), bench.call([4])
    await settle()
    gone.cancel()
    await settle()
    await bench.step()
    await bench.step()
    assert [await call for call in (running, before, after)] == [[2], [4], [8]]
    assert bench.ran == [[1], [2, 4]]
    assert gone.cancelled()


async def test_caller_cancelled_while_its_batch_runs_harms_no_one() -> None:
    bench = Bench()
    gone, stays = bench.call([1, 2]), bench.call([3])
    await settle()
    gone.cancel()
    await settle()
    await bench.step()
    assert await stays == [6]
    assert bench.batcher.alive


async def test_cancelled_callers_give_their_places_back_and_leave_nothing_behind() -> None:
    class Payload:
        pass

    bench = Bench(queue_items=3)
    bench.call([0])
    await settle()
    batcher: Batcher[Any, Any] = bench.batcher
    payload = Payload()
    seen = weakref.ref(payload)

    async def caller(payloads: list[Any]) -> None:
        with batcher.reserve(2) as places:
            await places.submit(payloads)

    task = asyncio.create_task(caller([payload, payload]))
    del payload
    await settle()
    with pytest.raises(Overloaded):
        batcher.reserve(1)
    task.cancel()
    await asyncio.wait([task])
    del task
    gc.collect()
    assert seen() is None
    batcher.reserve(2)


async def test_overload_refuses_all_or_nothing() -> None:
    bench = Bench(queue_items=10)
    with bench.batcher.reserve(6):
        with pytest.raises(Overloaded):
            bench.batcher.reserve(5)
        with bench.batcher.reserve(4), pytest.raises(Overloaded):
            bench.batcher.reserve(1)
    bench.batcher.reserve(10)


async def test_more_than_the_queue_could_ever_take_is_too_large_even_when_it_is_full() -> None:
    bench = Bench(queue_items=10)
    bench.batcher.reserve(10)
    with pytest.raises(TooLarge, match="at most 10"):
        bench.batcher.reserve(11)


async def test_places_of_items_that_failed_in_preparation_are_given_back_at_once() -> None:
    bench = Bench(queue_items=10)

    async def caller() -> None:
        with bench.batcher.reserve(10) as places:
            await places.submit([1, 2])

    task = asyncio.create_task(caller())
    await settle()
    with bench.batcher.reserve(8), pytest.raises(Overloaded):
        bench.batcher.reserve(1)
    await bench.step()
    await task
    bench.batcher.reserve(10)


async def test_a_reservation_takes_no_more_than_it_has_left() -> None:
    bench = Bench(inline_below_s=1.0)
    with bench.batcher.reserve(3) as places:
        with pytest.raises(ValueError, match="no more payloads"):
            await places.submit([1, 2, 3, 4])
        assert await places.submit([1, 2]) == [2, 4]
        assert await places.submit([2]) == [4]
        with pytest.raises(ValueError, match="no more payloads"):
            await places.submit([1, 2])


async def test_deferred_items_come_first_in_the_next_batch_as_they_were_left() -> None:
    def defer(payloads: Sequence[int]) -> list[Any]:
        bench.ran.append(list(payloads))
        return [2 * payloads[0], *(Deferred(payload + 100) for payload in payloads[1:])]

    bench = Bench(run=defer)
    first, second = bench.call([1, 2]), bench.call([3])
    for _ in range(3):
        await settle()
        bench.executor.step()
    assert await first == [2, 204]
    assert await second == [2 * 203]
    assert bench.ran == [[1, 2, 3], [102, 103], [203]]
    assert [items for items, _ in bench.batches] == [1, 1, 1]
    assert len(bench.queued) == 3  # each once


async def test_an_item_deferred_by_a_batch_that_outlives_the_batcher_is_told_so() -> None:
    bench = Bench(run=lambda payloads: [2, *(Deferred(one) for one in payloads[1:])])
    call = bench.call([1, 2])
    await settle()
    closing = asyncio.create_task(bench.batcher.close())
    await settle()
    await bench.step()
    with pytest.raises(NotReady):
        await call
    await closing


async def test_a_batch_that_is_expected_to_take_long_runs_in_the_executor() -> None:
    bench = Bench(inline_below_s=0.35, seconds_per_item=0.1)
    short = bench.call([1, 2, 3])
    assert await short == [2, 4, 6]
    long = bench.call([1, 2, 3, 4])
    await settle()
    assert not long.done()
    await bench.step()
    assert await long == [2, 4, 6, 8]


async def test_a_newcomer_who_would_wait_too_long_is_refused_with_the_time_until_it_would_not() -> None:
    bench = Bench(queue_items=1000, queue_ms=2000, seconds_per_item=0.1)
    bench.batcher.reserve(20)  # two seconds of work
    bench.batcher.reserve(10)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(9)
    assert caught.value.retry_after_s == pytest.approx(1.0)  # three seconds of work wait, two are allowed


async def test_an_idle_engine_refuses_nothing_that_fits() -> None:
    bench = Bench(queue_items=1000, queue_ms=1, seconds_per_item=10.0)
    bench.batcher.reserve(1000)


async def test_a_full_queue_says_when_enough_places_are_free() -> None:
    bench = Bench(queue_items=100, seconds_per_item=0.5)
    bench.batcher.reserve(90)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(30)
    assert caught.value.retry_after_s == pytest.approx(10.0)  # 20 places at half a second each


async def test_a_single_compare_is_let_in_beside_a_large_batch_that_fills_the_time() -> None:
    bench = Bench(queue_items=1000, queue_ms=1000, seconds_per_item=0.1)
    bench.batcher.reserve(500)
    bench.batcher.reserve(2)
    with pytest.raises(Overloaded):
        bench.batcher.reserve(9)


async def test_the_pace_is_measured_on_full_batches() -> None:
    bench = Bench(cap=4, queue_items=1000, queue_ms=1000, seconds_per_item=1.0)
    bench.seconds_per_batch = 0.04  # ten milliseconds an item
    for _ in range(40):
        call = bench.call(range(4))
        await settle()
        await bench.step()
        await call
    bench.seconds_per_batch = 5.0
    call = bench.call([1])  # a lonely slow item says nothing of the pace under load
    await settle()
    await bench.step()
    await call
    bench.batcher.reserve(900)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(9)
    assert caught.value.retry_after_s == pytest.approx(900 * 0.01 - 1.0, rel=0.05)


async def test_the_wait_for_a_turn_counts_what_lies_between_two_batches() -> None:
    bench = Bench(cap=4, queue_items=400, seconds_per_item=0.01)
    bench.seconds_per_batch = 0.04  # ten milliseconds an item
    calls = [bench.call(range(8)) for _ in range(40)]
    await settle()
    for _ in range(80):
        bench.now += 0.04  # as much again until the next batch is run: its callers are answered meanwhile
        await bench.step()
    await asyncio.gather(*calls)
    bench.batcher.reserve(400)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(1)
    assert caught.value.retry_after_s == pytest.approx(0.02, rel=0.05)


async def test_time_in_which_nobody_waited_is_no_part_of_a_turn() -> None:
    bench = Bench(cap=4, queue_items=400, seconds_per_item=0.01)
    bench.seconds_per_batch = 0.04
    for _ in range(40):
        bench.now += 60.0
        call = bench.call(range(4))
        await settle()
        await bench.step()
        await call
    bench.batcher.reserve(400)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(1)
    assert caught.value.retry_after_s == pytest.approx(0.01, rel=0.05)


async def test_a_refused_caller_can_ask_whether_the_queue_is_still_full() -> None:
    bench = Bench(queue_items=10, seconds_per_item=0.5)
    with bench.batcher.reserve(8):
        with bench.batcher.reserve(2), pytest.raises(Overloaded) as caught:
            bench.batcher.reserve(3)
        still_full = caught.value.still_full
        assert still_full is not None
        assert still_full() is None  # not for one
        bench.batcher.reserve(2)
        assert still_full() == pytest.approx(0.5)
    assert still_full() is None


async def test_a_refused_bulk_caller_says_nothing_of_others() -> None:
    bench = Bench(queue_items=10)
    bench.batcher.reserve(10)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(9)
    assert caught.value.still_full is None


async def test_a_closed_queue_is_not_said_to_be_full() -> None:
    bench = Bench(queue_items=2)
    bench.batcher.reserve(2)
    with pytest.raises(Overloaded) as caught:
        bench.batcher.reserve(1)
    await bench.batcher.close()
    assert caught.value.still_full is not None
    assert caught.value.still_full() is None


async def test_callers_of_a_large_batch_are_answered_over_several_turns_so_that_others_come_between() -> None:
    bench = Bench(cap=32)
    calls = [bench.call([payload]) for payload in range(32)]
    await settle()
    bench.executor.step()
    answered = []
    for _ in range(50):
        await asyncio.sleep(0)
        answered.append(sum(call.done() for call in calls))
    steps = [later - earlier for earlier, later in itertools.pairwise([0, *answered])]
    assert answered[-1] == 32
    assert max(steps) <= 4


async def test_waits_and_batches_are_reported_in_seconds() -> None:
    bench = Bench(cap=2)
    call = bench.call([1, 2, 3])
    await settle()
    bench.seconds_per_batch = 0.25
    await bench.step()
    await bench.step()
    await call
    assert bench.queued == [0.0, 0.0, 0.25]
    assert bench.batches == [(2, 0.25), (1, 0.25)]


def places_until(bench: Bench, payload: int) -> int:
    """How many items were run before this one."""
    return [payload for batch in bench.ran for payload in batch].index(payload)


@pytest.mark.parametrize("cap", [1, 2, 4, 32])
async def test_single_compares_pass_a_large_batch(cap: int) -> None:
    bench = Bench(cap=cap, queue_items=1000)
    large = bench.call(range(200))
    await settle()
    await bench.step()
    single = bench.call([1000])
    await settle()
    while not single.done():
        await bench.step()
    # One batch was already in flight, the next one takes it, at most behind the bulk items whose turn it was.
    assert places_until(bench, 1000) <= 2 * cap + 1
    while bench.executor.waiting:
        await bench.step()
    assert len(await large) == 200


@pytest.mark.parametrize("cap", [1, 2, 3, 4, 32])
async def test_a_stream_of_single_compares_does_not_starve_a_large_batch(cap: int) -> None:
    """There are always more single compares waiting than a batch holds; yet bulk gets every fourth place."""
    bench = Bench(cap=cap, queue_items=1000)
    singles = [bench.call([1000 + number]) for number in range(cap)]
    await settle()
    large = bench.call(range(40))
    number = cap
    while not large.done():
        singles += [bench.call([1000 + number + place]) for place in range(2 * cap)]
        number += 2 * cap
        await settle()
        await bench.step()
        assert number < 10_000
    order = [payload for batch in bench.ran for payload in batch]
    begun = order.index(0)
    bulk = [place for place, payload in enumerate(order) if payload < 1000]
    assert all(later - sooner <= 4 for sooner, later in itertools.pairwise(bulk))
    assert begun <= cap + 4
    between = order[begun : order.index(39)]
    assert sum(payload >= 1000 for payload in between) >= len(between) // 2, "interactive items come first"
    for call in singles:
        call.cancel()


async def test_a_stream_of_single_compares_does_not_starve_a_bulk_item_that_no_batch_finds_room_for() -> None:
    """Batches run as many as fit into ten units; the bulk items take nine each, whoever came first goes first."""

    def fitting(payloads: Sequence[int]) -> list[Any]:
        spent, outcomes = 0, list[Any]()
        for payload in payloads:
            spent += 9 if payload < 1000 else 3
            outcomes.append(Deferred(payload) if outcomes and spent > 10 else 2 * payload)
        bench.ran.append([payload for payload, one in zip(payloads, outcomes, strict=True) if isinstance(one, int)])
        return outcomes

    bench = Bench(cap=16, queue_items=1000, run=fitting)
    singles = [bench.call([1000 + number]) for number in range(16)]
    await settle()
    large = bench.call(range(9))
    for number in range(1, 40):
        singles += [bench.call([1000 + 16 * number + place]) for place in range(4)]
        await settle()
        await bench.step()
    assert large.done()
    assert sum(len(batch) == 3 for batch in bench.ran) > 20, "interactive items get their batches too"
    for call in singles:
        call.cancel()


async def test_callers_who_ask_again_as_they_are_answered_share_the_next_batch_with_who_waits() -> None:
    bench = Bench(cap=8)

    async def caller(number: int) -> None:
        for again in (0, 10):
            await bench.call([number + again])
            await asyncio.sleep(0)  # what is between an answer and the next request

    first = [asyncio.create_task(caller(number)) for number in (1, 2)]
    await settle()
    bench.call([3])
    await bench.step()
    await bench.step()
    assert bench.ran == [[1, 2], [3, 11, 12]]
    await asyncio.gather(*first)


async def test_a_full_batch_waits_for_no_one() -> None:
    bench = Bench(cap=2)
    calls = [bench.call([number]) for number in range(4)]
    await settle()
    bench.executor.step()
    for _ in range(4):
        await asyncio.sleep(0)
    assert len(bench.executor.waiting) == 1
    await bench.step()
    assert [await call for call in calls] == [[0], [2], [4], [6]]


async def test_a_bad_payload_fails_alone_and_with_its_own_error() -> None:
    def run(payloads: Sequence[int]) -> Iterable[int]:
        if 5 in payloads:
            raise UnusableInput("five is right out")
        return [2 * payload for payload in payloads]

    bench = Bench(cap=8, run=run)
    calls = [bench.call([payload]) for payload in range(8)]
    await settle()
    await bench.step()
    outcomes = [(await call)[0] for call in calls]
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 2, 4, 6, 8, 12, 14]
    assert isinstance(outcomes[5], UnusableInput)
    assert bench.batcher.alive


async def test_an_unexpected_failure_becomes_internal_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def run(payloads: Sequence[int]) -> Iterable[int]:
        if 1 in payloads:
            raise RuntimeError("secret of /srv/models")
        return payloads

    bench = Bench(run=run)
    call = bench.call([0, 1, 2])
    await settle()
    await bench.step()
    first, failed, last = await call
    assert (first, last) == (0, 2)
    assert isinstance(failed, Internal)
    assert "secret" not in failed.detail
    assert "an item failed" in caplog.text


@pytest.mark.parametrize("results", [[], [1], [1, 2, 3]])
async def test_a_model_that_gives_too_many_or_too_few_results_fails_the_items(
    results: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(run=lambda _: results)
    call = bench.call([1, 2])
    await settle()
    await bench.step()
    outcomes = await call
    if len(results) == 1:
        assert outcomes == [1, 1], "each alone is served"
    else:
        assert all(isinstance(outcome, Internal) for outcome in outcomes)
        assert caplog.records


async def test_a_dead_executor_fails_pending_callers_at_once_and_shows(caplog: pytest.LogCaptureFixture) -> None:
    executor = ThreadPoolExecutor(1)
    bench = Bench(executor=executor)
    executor.shutdown()
    calls = [bench.call([1]), bench.call(range(20))]
    await settle()
    for call in calls:
        with pytest.raises(Internal, match="stopped before it could answer"):
            await call
    assert not bench.batcher.alive
    assert len(bench.deaths) == 1
    assert "RuntimeError" in bench.deaths[0]
    assert "stopped" in caplog.text
    with pytest.raises(NotReady):
        bench.batcher.reserve(1)


async def test_a_worker_thread_that_dies_fails_its_batch_and_those_who_wait(caplog: pytest.LogCaptureFixture) -> None:
    def run(payloads: Sequence[int]) -> Iterable[int]:
        raise SystemExit(payloads[0])

    bench = Bench(cap=1, run=run)
    in_flight, waiting = bench.call([1]), bench.call([2])
    await settle()
    await bench.step()
    for call in (in_flight, waiting):
        with pytest.raises(Internal):
            await call
    assert not bench.batcher.alive
    assert bench.deaths == ["the engine stopped (SystemExit)"]
    assert caplog.records


@pytest.mark.parametrize("in_line", [True, False])
@pytest.mark.parametrize("callback", ["on_queued", "on_batch"])
async def test_a_fault_of_the_engine_itself_strands_no_caller(
    callback: str, in_line: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    options: dict[str, Any] = {callback: faulty} | ({"inline_below_s": 1.0} if in_line else {})
    bench = Bench(**options)
    call = bench.call([1, 2])
    await settle()
    if bench.executor.waiting:
        await bench.step()
    with pytest.raises(Internal):
        await call
    assert not bench.batcher.alive
    assert caplog.records


async def test_closing_fails_who_waits_and_answers_who_is_in_flight() -> None:
    bench = Bench(cap=1)
    in_flight, waiting = bench.call([1]), bench.call([2])
    await settle()
    closing = asyncio.create_task(bench.batcher.close())
    await settle()
    with pytest.raises(NotReady):
        await waiting
    with pytest.raises(NotReady):
        bench.batcher.reserve(1)
    assert not closing.done()
    await bench.step()
    await closing
    assert await in_flight == [2]
    assert bench.batcher.alive, "closed on purpose is not dead"
    assert bench.deaths == []
    assert bench.ran == [[1]]


async def test_a_caller_who_prepared_while_the_engine_closed_is_told() -> None:
    bench = Bench()
    with bench.batcher.reserve(1) as places:
        await bench.batcher.close()
        with pytest.raises(NotReady):
            await places.submit([1])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.integers(1, 9))
def test_every_item_whose_caller_stays_is_taken_once_and_in_order(items: list[tuple[bool, bool]], cap: int) -> None:
    loop = asyncio.new_event_loop()
    queue: FairQueue[int, int] = FairQueue()
    waiting = [
        Waiting[int, int](number, loop.create_future(), 0.0, bulk=bulk) for number, (bulk, _) in enumerate(items)
    ]
    queue.put(waiting)
    for item, (_, gone) in zip(waiting, items, strict=True):
        if gone:
            item.future.cancel()
    taken: list[Waiting[int, int]] = []
    while batch := queue.take(cap):
        assert len(batch) <= cap
        taken += batch
    loop.close()
    assert len(queue) == 0
    assert sorted(item.payload for item in taken) == [n for n, (_, gone) in enumerate(items) if not gone]
    for bulk in (True, False):
        payloads = [item.payload for item in taken if item.bulk is bulk]
        assert payloads == sorted(payloads)
