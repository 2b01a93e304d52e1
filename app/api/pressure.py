"""Whether the door turns requests away before they are read, because a queue would refuse them afterwards. Knows no
models: a queue that has refused a request can be asked whether it still would.

What a queue refuses has been read, parsed and checked by then, which takes several times as long as to turn it away;
and what takes several times as long, three times as often as what is accepted, leaves nothing for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.core.errors import StillFull

READ_REFUSALS_PER_S = 32.0
"""So many requests a second may be refused after they were read: some hundredths of a worker's time. Only where queues
refuse more is anything turned away for them, since the head of a request does not say which model it is for: a model
that is asked for more than it can do, but not often, costs the callers of others nothing.
"""


class Pressure:
    """One a worker, on its event loop. `clock` counts seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = READ_REFUSALS_PER_S
        self._seen_at = clock()
        self._still_full: StillFull | None = None

    def felt(self, still_full: StillFull) -> None:
        """A queue has refused a request that was read."""
        self._refill()
        self._left = max(self._left - 1, 0.0)
        self._still_full = still_full

    def wait_s(self) -> float | None:
        """The seconds until a request that came now might find a place; None where it is to be let in."""
        if self._still_full is None:
            return None
        wait_s = self._still_full()
        if wait_s is None:
            self._still_full = None
            return None
        self._refill()
        return wait_s if self._left < 1 else None

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._left + (now - self._seen_at) * READ_REFUSALS_PER_S, READ_REFUSALS_PER_S)
        self._seen_at = now
