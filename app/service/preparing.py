"""Which thread prepares a large item, and when: vast ones one at a time, so that they never hold all threads."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Executor, Future
from dataclasses import replace

from app.core.errors import TooLarge, TwinserveError
from app.core.modalities.base import Item, Limits, Prepared
from app.runtime.registry import Model

QUICK_PIXELS, QUICK_SECONDS = 16_000_000, 60.0
"""What any free thread prepares, in about a fifth of a second. A picture of fifty megapixels takes up to a second and a
half and 700 MiB; its bytes do not tell, but its header does."""


class Preparer:
    """Prepares items in `executor`, which has at least two threads for the promise to hold. One a worker."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._vast = asyncio.Semaphore(1)

    async def prepare(self, model: Model, item: Item) -> Prepared | TwinserveError:
        """Decode and prepare one item; its failure is an outcome. A cancelled caller's item is not begun any more."""
        limits = model.limits
        quick = replace(
            limits,
            max_pixels=min(limits.max_pixels, QUICK_PIXELS),
            max_seconds=min(limits.max_seconds, QUICK_SECONDS),
        )
        outcome = await asyncio.wrap_future(self._submit(model, item, quick))
        if not isinstance(outcome, TooLarge) or quick == limits:
            return outcome
        await self._vast.acquire()
        run = self._submit(model, item, limits)
        loop = asyncio.get_running_loop()

        def free(_: Future[Prepared | TwinserveError]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: the worker was stopped meanwhile
                loop.call_soon_threadsafe(self._vast.release)

        run.add_done_callback(free)  # once the thread is free: its caller may have gone before
        return await asyncio.wrap_future(run)

    def _submit(self, model: Model, item: Item, limits: Limits) -> Future[Prepared | TwinserveError]:
        return self._executor.submit(model.engine.prepare, item, limits)
