"""Who a request is from: the key that its secret belongs to, and what is left of that key's rate. No HTTP."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Sequence

from app.access.keys import Key, digest
from app.core.errors import Forbidden, RateLimited, Unauthorized

UNKNOWN = "this route needs a valid key: send it as Authorization: Bearer or as X-API-Key"


class Caller:
    """The holder of one key, and what is left of its rate in this worker. Used on the event loop only.

    Every comparison or embedding costs one. A request is let in while anything is left, and may then cost more than
    that: who sends a large batch pays by waiting afterwards, so that the rate holds on average and no batch is
    refused for ever.
    """

    def __init__(self, key: Key, clock: Callable[[], float]) -> None:
        self.key = key
        self._clock = clock
        self._left: float | None = None
        self._counted_at = clock()

    def need(self, scope: str) -> None:
        """Raises Forbidden where the key has not this scope."""
        if scope not in self.key.scopes:
            raise Forbidden(f"this key has not the scope {scope}, which this route needs")

    def enter(self, workers: int) -> None:
        """Pay for a request, one of those that reach this one of `workers`. Raises RateLimited where nothing is left.

        Each worker grants an equal share of rate and burst, at least one request of the latter.
        """
        if self.key.rate_per_s is None:
            return
        rate = self.key.rate_per_s / workers
        burst = max(1.0, (self.key.burst or math.ceil(self.key.rate_per_s)) / workers)
        now = self._clock()
        left = burst if self._left is None else min(burst, self._left + (now - self._counted_at) * rate)
        self._left, self._counted_at = left, now
        if left < 1.0:
            raise RateLimited("this key is over its rate; try again later", retry_after_s=(1.0 - left) / rate)
        self._left = left - 1.0

    def pay(self, cost: int) -> None:
        """Pay for what a request turned out to hold, beside the one that it paid on entering."""
        if self._left is not None:
            self._left -= cost

    def keep_paying(self, before: Caller) -> None:
        """Go on where the same key's caller stood before a reload."""
        self._left, self._counted_at = before._left, before._counted_at


class Access:
    """The keys in force. One object a worker, used on its event loop only.

    `workers` says how many ready workers share each key's rate; fewer than one count as one.
    """

    def __init__(
        self, keys: Sequence[Key], workers: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workers = workers
        self._clock = clock
        self._callers: list[tuple[bytes, Caller]] = []
        self.replace(keys)

    def replace(self, keys: Sequence[Key]) -> None:
        """Put these keys in force, at once. A key that keeps its id keeps what it has used of its rate."""
        before = {caller.key.id: caller for _, caller in self._callers}
        self._callers = [(bytes.fromhex(key.sha256), Caller(key, self._clock)) for key in keys]
        for _, caller in self._callers:
            if caller.key.id in before:
                caller.keep_paying(before[caller.key.id])

    def admit(self, secret: str | None) -> Caller:
        """Return whose secret this is. Raises Unauthorized where it is nobody's.

        It is held against every key, each in constant time, so that an answer's time tells nothing of the keys.
        """
        found: Caller | None = None
        if secret:
            given = digest(secret)
            for stored, caller in self._callers:
                if hmac.compare_digest(stored, given):
                    found = caller
        if found is None:
            raise Unauthorized(UNKNOWN)
        return found

    def enter(self, caller: Caller) -> None:
        """Pay for one request of `caller`. Raises RateLimited."""
        caller.enter(max(1, self._workers()))
