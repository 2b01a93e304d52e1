"""A version on trial beside the one that answers: it scores some of the same pairs, later, and only its verdicts count.

It never touches an answer: pairs are kept aside until the model that answers has nothing to do, one is scored at a
time, in a thread of its own, and under load they are dropped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from app.core.errors import TwinserveError
from app.core.evidence import Selectors, Side, judge
from app.core.observe import Observer
from app.core.scoring import compare
from app.runtime.engine import Encoded
from app.runtime.queue import Deferred
from app.runtime.registry import Model, Shadow
from app.service.items import Content, Given
from app.service.notices import look_at

MOST_PAIRS = 32
MOST_BYTES = 64 * 1024 * 1024
"""What may be kept aside, all pairs together."""
BUSY_S = 0.005
"""How long to wait before looking again whether there is nothing to do."""
ERROR = "error"
"""In place of a verdict, where the version on trial could not give one."""
SIDES: tuple[Side, Side] = ("a", "b")

logger = logging.getLogger(__name__)
Item = Content | Given
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A pair that was answered, and what a version on trial is to make of it."""

    served: Model
    candidate: Model
    selectors: Selectors
    items: tuple[Item, Item]
    verdict: str

    @property
    def size(self) -> int:
        """Bytes that keeping it costs."""
        return sum(len(item.key[1]) for item in self.items)


class Shadowing:
    """Scores a share of what was answered once more. On the event loop, but for the scoring itself.

    `chance` gives numbers in [0, 1): a pair is taken where its number is below the share.
    """

    def __init__(
        self,
        observer: Observer,
        executor: Executor,
        today: Callable[[], date],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._observer = observer
        self._executor = executor
        self._today = today
        self._chance = chance
        self._waiting: deque[Answered] = deque()
        self._bytes = 0
        self._working: asyncio.Task[None] | None = None

    def offer(
        self, served: Model, shadow: Shadow, selectors: Selectors, pairs: Sequence[tuple[tuple[Item, Item], str]]
    ) -> None:
        """Keep some of these pairs aside, each with its verdict, to be scored by the version on trial. Never waits."""
        same = served.bundle.fingerprint == shadow.model.bundle.fingerprint
        for items, verdict in pairs:
            if self._chance() >= shadow.share:
                continue
            pair = Answered(served, shadow.model, selectors, items, verdict)
            if not same and any(isinstance(item, Given) for item in items):
                continue  # an embedding says nothing to another encoder
            if len(self._waiting) >= MOST_PAIRS or self._bytes + pair.size > MOST_BYTES:
                self._observer.shadow_dropped(served.key, shadow.model.key)
                continue
            self._waiting.append(pair)
            self._bytes += pair.size
        if self._waiting and self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    def close(self) -> None:
        """Drop what is kept aside; what is being scored is scored to its end."""
        self._waiting.clear()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._waiting[0].served.batcher.holders:
                    await asyncio.sleep(BUSY_S)
                    continue
                pair = self._waiting.popleft()
                verdict = await loop.run_in_executor(self._executor, self._score, pair)
                self._bytes -= pair.size
                self._observer.shadowed(pair.served.key, pair.candidate.key, pair.verdict, verdict)
        finally:
            self._working = None

    def _score(self, pair: Answered) -> str:
        """The verdict of the version on trial. Runs in a thread; never raises."""
        candidate = pair.candidate
        try:
            choice = candidate.choose(pair.selectors)
            sides = _embed(candidate, pair.items)
        except TwinserveError:
            return ERROR
        except Exception:
            logger.exception("a version on trial failed on a pair")
            return ERROR
        score, _ = compare(sides[0].vector, sides[1].vector, candidate.bundle.manifest.embedding.metric)
        outside = [name for name, side in zip(SIDES, sides, strict=True) if side.outside]
        identical = pair.items[0].key == pair.items[1].key
        return judge(choice, score, prior=None, outside=outside, identical=identical, today=self._today()).verdict


def _embed(model: Model, items: Sequence[Item]) -> list[Encoded]:
    """Embed without the queue, whose places are for those who wait for an answer. Raises an item's own error."""
    waiting = [model.engine.prepare(item.item, model.limits) for item in items if isinstance(item, Content)]
    encoded: list[Encoded] = []
    while waiting:
        outcomes = model.engine.run([_good(one) for one in waiting])
        done = [_good(one) for one in outcomes if not isinstance(one, Deferred)]
        encoded += done
        waiting = waiting[len(done) :]
    made = iter(encoded)
    return [next(made) if isinstance(item, Content) else look_at([item], model)[0] for item in items]


def _good(outcome: T | TwinserveError) -> T:
    if isinstance(outcome, TwinserveError):
        raise outcome
    return outcome
