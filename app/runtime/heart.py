"""The heartbeat of a worker, by which the supervisor tells one that hangs from one that works. Knows no clock.

Time is counted in beats of the process itself. So a machine that was suspended, a service that was stopped for a while
and a clock that was set do not look like a hang: while nothing runs, nothing beats and nothing is missed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Hashable

MOST_S = 1.0
FEWEST = 10
"""Beats in the time after which a worker counts as hung, at least: one that comes late must not decide."""


def interval_s(watchdog_s: float) -> float:
    """Return the seconds between two beats, given after how many a worker counts as hung."""
    return min(MOST_S, watchdog_s / FEWEST)


def beats_in(watchdog_s: float) -> int:
    """Return how many beats that time has."""
    return math.ceil(watchdog_s / interval_s(watchdog_s))


class Heart:
    """Beats on the running event loop from `start` on; never, where a worker may hang for ever (`watchdog_s` is 0).

    `under_way` names the batches that run now; `beat` gets at how many beats in a row the oldest of them was there.
    """

    def __init__(
        self, watchdog_s: float, under_way: Callable[[], Collection[Hashable]], beat: Callable[[int], None]
    ) -> None:
        self._every_s = interval_s(watchdog_s)
        self._under_way = under_way
        self._beat = beat
        self._seen: dict[Hashable, int] = {}
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat now, and on and on, unless it does so already."""
        if self._every_s and self._next is None:
            self._go_on()

    def _go_on(self) -> None:
        self._seen = {batch: self._seen.get(batch, 0) + 1 for batch in self._under_way()}
        self._beat(max(self._seen.values(), default=0))
        self._next = asyncio.get_running_loop().call_later(self._every_s, self._go_on)

    def stop(self) -> None:
        """Beat no more."""
        if self._next is not None:
            self._next.cancel()
