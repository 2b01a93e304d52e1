"""Batching without a timer: a batch is whatever is waiting when a slot is free. Knows no models and no arrays.

Places are given out at the door, all or nothing a caller, before the caller spends work on preparing its items.
Everything but `run` happens on the event loop, so that no lock is needed; work is driven by events alone (an item
arrives, a batch ends), so that there is no loop that could die unseen. Over 300 lines: one machine, whose states are
of no use apart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from app.core.errors import Internal, NotReady, Overloaded, TooLarge, TwinserveError
from app.runtime.holders import Holders
from app.runtime.queue import BULK_EVERY, Deferred, FairQueue, Waiting

T = TypeVar("T")
R = TypeVar("R")

BULK_ABOVE = 8
"""A caller with more items than this is bulk, any other interactive."""
QUIET_TURNS = 8
"""Turns of the event loop after a batch: an answer and the next request of the same caller take some five."""
ANSWERS_A_TURN = 4
"""Items whose callers are woken in one turn of the event loop. What a caller then does takes half a millisecond, and
whoever comes meanwhile, only to be turned away perhaps, waits until the turn is over.
"""
RATE_MEMORY = 0.8
"""Weight of the past in the measured seconds per item; the newest batch has the rest."""

logger = logging.getLogger(__name__)


class Batcher(Generic[T, R]):
    """Runs `run` on batches of at most `cap` payloads, at most `in_flight` batches at a time; lives on one event loop.

    `run` maps payloads to as many outcomes, in order; it is called in `executor`, or on the event loop where the batch
    is expected to take less than `inline_below_s`. It may defer items, though never all of them. `queue_items` bounds
    the places given out, `queue_ms` the wait that a newcomer may expect. `seconds_per_item` is the pace assumed until
    a full batch has been measured. `on_queued` gets each item's wait, `on_batch` each batch's items and time, both in
    seconds; `on_death` a one-line reason, once, should the engine stop for good. `clock` counts seconds, monotonic.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Iterable[R | TwinserveError | Deferred[T]]],
        *,
        cap: int,
        queue_items: int,
        queue_ms: float,
        executor: Executor,
        inline_below_s: float = 0.0,
        in_flight: int = 1,
        seconds_per_item: float = 0.0,
        on_queued: Callable[[float], None] = lambda _: None,
        on_batch: Callable[[int, float], None] = lambda *_: None,
        on_death: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if cap < 1 or queue_items < 1 or in_flight < 1:
            raise ValueError("cap, queue_items and in_flight are at least 1")
        self._run = run
        self._cap = cap
        self._queue_items = queue_items
        self._queue_s = queue_ms / 1000
        self._executor = executor
        self._inline_below_s = inline_below_s
        self._free_slots = self._slots = in_flight
        self._pace = self._turn = seconds_per_item
        self._ended_at: float | None = None  # of the last batch, where others waited then
        self._on_queued, self._on_batch, self._on_death = on_queued, on_batch, on_death
        self._clock = clock
        self._queue = FairQueue[T, R]()
        self._held = {False: 0, True: 0}  # places given out and not yet given back, by `bulk`
        self._taken: set[Waiting[T, R]] = set()  # in a batch, not yet answered
        self._running: set[asyncio.Task[None]] = set()
        self._wake_up: asyncio.Handle | None = None
        self._stopped: str | None = None
        self._dead = False
        self.holders = Holders()
        """Who has places; whoever is to take some after an await keeps it from being retired by `with holders:`."""

    @property
    def alive(self) -> bool:
        """False once the engine has stopped unexpectedly; it does not come back."""
        return not self._dead

    @property
    def cap(self) -> int:
        """The most items of one batch."""
        return self._cap

    @property
    def under_way(self) -> Collection[Hashable]:
        """The batches that run in the executor now; each is equal to itself only."""
        return self._running

    def reserve(self, count: int) -> Reservation[T, R]:
        """Take `count` places, all or nothing; the caller is bulk when it takes more than BULK_ABOVE.

        Raises TooLarge for more places than there ever are, Overloaded when too few are free or the wait would be too
        long (with an honest `retry_after_s`), NotReady once the batcher is closed or dead.
        """
        if self._stopped is not None:
            raise NotReady(self._stopped)
        if count > self._queue_items:
            raise TooLarge(f"the request has {count} items; at most {self._queue_items} are taken: split it")
        bulk = count > BULK_ABOVE
        wait_s = self._wait_for_places_s(count, bulk)
        if wait_s is not None:
            still_full = None if bulk else partial(self._wait_for_places_s, 1, False)
            raise Overloaded("the queue is full; try again later", retry_after_s=wait_s or None, still_full=still_full)
        self._held[bulk] += count
        return Reservation(self, count, bulk)

    def _wait_for_places_s(self, count: int, bulk: bool) -> float | None:
        """Time until so many places may be had; None where they are there, or there never will be any again."""
        excess = sum(self._held.values()) + count - self._queue_items
        late_s = self._expected_wait_s(bulk) - self._queue_s
        if self._stopped is not None or (excess <= 0 and late_s <= 0):
            return None
        return max(late_s, excess * self._turn, self._turn)

    def _expected_wait_s(self, bulk: bool) -> float:
        """Time until a newcomer's first item has its turn: after its own class at its share of the places, or all."""
        share = BULK_EVERY if bulk else BULK_EVERY / (BULK_EVERY - 1)
        return min(sum(self._held.values()), self._held[bulk] * share) * self._turn

    def _give_back(self, count: int, bulk: bool) -> None:
        self._held[bulk] -= count

    async def _submit(self, payloads: Sequence[T], bulk: bool) -> tuple[list[R | TwinserveError], Waiting[T, R]]:
        if self._stopped is not None:
            raise NotReady(self._stopped)
        loop, now = asyncio.get_running_loop(), self._clock()
        items: list[Waiting[T, R]] = [Waiting(payload, loop.create_future(), now, bulk=bulk) for payload in payloads]
        self._queue.put(items)
        self._schedule(loop)
        try:
            outcomes = [await item.future for item in items]
        except BaseException:
            for item in items:
                if item.future.cancel() or item.future.cancelled():
                    self._queue.forget(item)  # only a caller that has gone leaves any undone
                else:
                    item.future.exception()  # marks as seen the errors behind the first
            raise
        return outcomes, max(items, key=_when_done)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Dispatch on the loop's next turn, so that callers of the same turn share a batch."""
        if self._wake_up is None:
            self._wake_up = loop.call_soon(self._dispatch, loop)

    def _linger(self, loop: asyncio.AbstractEventLoop, waiting: int, turns: int) -> None:
        """Dispatch once QUIET_TURNS of the loop have brought nothing, or a full batch waits.

        Callers who were just answered often ask again at once; the loop has this work to do in any case, and done first
        it makes one batch of what would be two. Nothing is slept: on an idle loop such turns take microseconds.
        """
        if len(self._queue) >= self._cap or turns == 0:
            self._dispatch(loop)
            return
        turns = QUIET_TURNS if len(self._queue) > waiting else turns - 1
        self._wake_up = loop.call_soon(self._linger, loop, len(self._queue), turns)

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start batches while a slot is free and items wait."""
        self._wake_up = None
        try:
            while self._free_slots and self._stopped is None and (batch := self._take()):
                self._free_slots -= 1
                if len(batch) * self._pace * self._slots < self._inline_below_s:
                    self._finish(batch, *self._attempt([item.payload for item in batch]))
                    return  # one batch a turn, so that the loop can breathe
                task = loop.create_task(self._run_in_executor(batch, loop))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        except BaseException as error:
            self._die(error)
            if not isinstance(error, Exception):
                raise

    def _take(self) -> list[Waiting[T, R]]:
        batch = self._queue.take(self._cap)
        self._taken.update(batch)
        now = self._clock()
        for item in batch:
            item.taken_at = now
        return batch

    async def _run_in_executor(self, batch: list[Waiting[T, R]], loop: asyncio.AbstractEventLoop) -> None:
        try:
            payloads = [item.payload for item in batch]
            ran = await loop.run_in_executor(self._executor, self._attempt, payloads)
            self._finish(batch, *ran, turns=QUIET_TURNS)
        except BaseException as error:  # whatever a thread raised, and cancellation when the loop is torn down
            self._die(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _attempt(self, payloads: Sequence[T]) -> tuple[list[R | TwinserveError | Deferred[T]], float, bool]:
        """Run one batch; on failure its halves, so that one item's failure is its own.

        Returns the outcomes in order, the seconds taken, and whether the batch ran whole.
        """
        began = self._clock()
        try:
            results = list(self._run(payloads))
            if len(results) != len(payloads):
                raise ValueError(f"{len(payloads)} items gave {len(results)} results")
        except Exception as error:
            return self._split(payloads, error), self._clock() - began, False
        return results, self._clock() - began, True

    def _split(self, payloads: Sequence[T], error: Exception) -> list[R | TwinserveError | Deferred[T]]:
        if len(payloads) > 1:
            middle = len(payloads) // 2
            return [*self._attempt(payloads[:middle])[0], *self._attempt(payloads[middle:])[0]]
        if isinstance(error, TwinserveError):
            return [error]
        logger.error("an item failed in the model", exc_info=error)
        return [Internal("the model failed on this item; other items are not affected")]

    def _finish(
        self,
        batch: list[Waiting[T, R]],
        outcomes: list[R | TwinserveError | Deferred[T]],
        seconds: float,
        whole: bool,
        turns: int = 0,
    ) -> None:
        self._free_slots += 1
        items = sum(not isinstance(outcome, Deferred) for outcome in outcomes)
        now = self._clock()
        if whole:
            self._measure(items, seconds, now, full=len(batch) == self._cap or items < len(batch))
        self._ended_at = now if self._queue or items < len(batch) else None
        self._on_batch(items, seconds)
        # Before any item leaves `_taken`: should an observer fail, `_die` answers all who are in it.
        for item, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Deferred):
                self._on_queued(item.taken_at - item.since)
        deferred: list[Waiting[T, R]] = []
        done: list[tuple[Waiting[T, R], R | TwinserveError]] = []
        for item, outcome in zip(batch, outcomes, strict=True):
            self._taken.discard(item)
            if isinstance(outcome, Deferred):
                item.payload = outcome.payload
                deferred.append(item)
            else:
                item.done_at = now
                done.append((item, outcome))
        if self._stopped is None:
            self._queue.put_back(deferred, batch)
        else:
            _fail(NotReady, self._stopped, deferred)
        self._answer(asyncio.get_running_loop(), done, turns)

    def _answer(
        self, loop: asyncio.AbstractEventLoop, done: Sequence[tuple[Waiting[T, R], R | TwinserveError]], turns: int
    ) -> None:
        """Wake callers, some a turn, and go on with the next batch once the last of them have been."""
        for item, outcome in done[:ANSWERS_A_TURN]:
            if not item.future.done():
                item.future.set_result(outcome)
        self._wake_up = None
        if left := done[ANSWERS_A_TURN:]:
            # Whoever asks again meanwhile begins no batch.
            self._wake_up = loop.call_soon(self._answer, loop, left, turns)
        elif self._queue or turns:
            self._wake_up = loop.call_soon(self._linger, loop, len(self._queue), turns)

    def _measure(self, items: int, seconds: float, now: float, *, full: bool) -> None:
        """Update pace and turn. A part-filled batch says nothing of those under load: it is only a first guess."""
        pace = seconds / items / self._slots
        turn = pace if self._ended_at is None else (now - self._ended_at) / items
        if self._pace == 0.0:
            self._pace = self._turn = pace
        elif full:
            self._pace = RATE_MEMORY * self._pace + (1 - RATE_MEMORY) * pace
            self._turn = RATE_MEMORY * self._turn + (1 - RATE_MEMORY) * turn

    def _die(self, error: BaseException) -> None:
        """Stop for good: everyone who waits gets an error at once, instead of waiting for ever."""
        if self._dead:
            return
        logger.critical("the engine of a model has stopped", exc_info=error)
        self._dead = True
        self._stopped = "the engine of this model has stopped; it is being restarted"
        detail = "the engine of this model stopped before it could answer; try again"
        _fail(Internal, detail, [*self._taken, *self._queue.drain()])
        self._on_death(f"the engine stopped ({type(error).__name__})")

    async def retire(self) -> None:
        """Close once nobody holds it or a place any more, so that no caller notices; for when no new one can come."""
        await self.holders.gone()
        await self.close()

    async def close(self) -> None:
        """Take nothing more, fail who still waits (NotReady), and let the batches in flight answer their callers."""
        if self._stopped is None:
            self._stopped = "this model is being shut down or replaced; try again"
        _fail(NotReady, self._stopped, self._queue.drain())
        if self._running:
            await asyncio.wait(set(self._running))


def _when_done(item: Waiting[T, R]) -> float:
    return item.done_at


def _fail(kind: type[TwinserveError], detail: str, items: Iterable[Waiting[T, R]]) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(kind(detail))


class Reservation(Generic[T, R]):
    """Places in a queue, held while the caller prepares its items and waits for them. Use as a context manager."""

    def __init__(self, batcher: Batcher[T, R], count: int, bulk: bool) -> None:
        self._batcher = batcher
        self._held = count
        self._bulk = bulk
        self.last: Waiting[T, R] | None = None
        """Of the items submitted last, the one that was done last: its times are those that its caller waited."""

    def __enter__(self) -> Self:
        self._batcher.holders.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keep(0)
        self._batcher.holders.__exit__(kind, error, trace)

    def _keep(self, count: int) -> None:
        self._batcher._give_back(self._held - count, self._bulk)
        self._held = count

    async def submit(self, payloads: Sequence[T]) -> list[R | TwinserveError]:
        """Queue at most as many payloads as are reserved and return an outcome for each, in order.

        The places of the others are given back. It may be called again, for those that must go in once more.

        An item's failure is an outcome. Raises Internal if the engine dies meanwhile, NotReady if it is closed.
        """
        if len(payloads) > self._held:
            raise ValueError("a reservation takes no more payloads than it has places")
        self._keep(len(payloads))
        outcomes, self.last = await self._batcher._submit(payloads, self._bulk)
        return outcomes
