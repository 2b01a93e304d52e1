"""Who is next: two classes of waiting items that share the places of each batch. Knows no models, counts no places."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import TwinserveError

T = TypeVar("T")
R = TypeVar("R")

BULK_EVERY = 4
"""While both classes wait, bulk gets every fourth place: it is slowed, never starved."""


class Waiting(Generic[T, R]):
    """One item, its caller's future, and when it came, was taken by its batch, and was done, in seconds of the
    batcher's clock.
    """

    __slots__ = ("bulk", "done_at", "future", "payload", "since", "taken_at")

    def __init__(self, payload: T, future: asyncio.Future[R | TwinserveError], since: float, *, bulk: bool) -> None:
        self.payload = payload
        self.future = future
        self.since = since
        self.bulk = bulk
        self.taken_at = self.done_at = since


@dataclass(frozen=True, slots=True)
class Deferred(Generic[T]):
    """The outcome of an item that its batch had no room for: it goes back to the front of the queue, as `payload`."""

    payload: T


class FairQueue(Generic[T, R]):
    """First in, first out inside a class; interactive before bulk, but for bulk's share of places."""

    def __init__(self) -> None:
        self._interactive: deque[Waiting[T, R]] = deque()
        self._bulk: deque[Waiting[T, R]] = deque()
        self._passed_over = 0  # interactive places in a row while bulk waited; kept from batch to batch

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def put(self, items: Sequence[Waiting[T, R]]) -> None:
        """Add items at the end of their class."""
        for item in items:
            self._class_of(item).append(item)

    def take(self, most: int) -> list[Waiting[T, R]]:
        """Remove and return the next items, at most `most`. One whose caller has gone is dropped and takes no place."""
        batch: list[Waiting[T, R]] = []
        while len(batch) < most and (queue := self._next_class()):
            item = queue.popleft()
            if item.future.done():
                continue
            self._passed_over = 0 if item.bulk or not self._bulk else self._passed_over + 1
            batch.append(item)
        return batch

    def put_back(self, items: Sequence[Waiting[T, R]], batch: Sequence[Waiting[T, R]]) -> None:
        """Return items that a batch took and had no room for, to the front of their class, in their order.

        Where none of the batch's bulk items ran, bulk is still due, and leads the next batch: its first always runs.
        """
        for item in reversed(items):
            self._class_of(item).appendleft(item)
        bulk = sum(item.bulk for item in batch)
        if bulk and bulk == sum(item.bulk for item in items):
            self._passed_over = BULK_EVERY - 1

    def forget(self, item: Waiting[T, R]) -> None:
        """Remove an item whose caller has gone, if it still waits, so that gone callers never fill the memory."""
        with contextlib.suppress(ValueError):
            self._class_of(item).remove(item)

    def drain(self) -> list[Waiting[T, R]]:
        """Remove and return everything."""
        items = [*self._interactive, *self._bulk]
        self._interactive.clear()
        self._bulk.clear()
        return items

    def _class_of(self, item: Waiting[T, R]) -> deque[Waiting[T, R]]:
        return self._bulk if item.bulk else self._interactive

    def _next_class(self) -> deque[Waiting[T, R]]:
        bulk_is_due = self._passed_over >= BULK_EVERY - 1
        return self._bulk if self._bulk and (bulk_is_due or not self._interactive) else self._interactive
