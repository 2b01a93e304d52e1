"""From distinct items to their embeddings: places in the queue, preparation, the batcher. No pairs, no verdicts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from app.core.errors import Internal, TooLarge, TwinserveError
from app.core.modalities.base import Limits, Prepared
from app.core.observe import Observer
from app.runtime.batcher import BULK_ABOVE
from app.runtime.registry import Model
from app.service.items import Content

INLINE_BYTES = 16 * 1024
INLINE_ITEMS = 2
"""Up to this many items of up to this size are prepared on the event loop, where the hand-over to a thread would cost
more than the work. Larger ones would stall every other request (a 12-megapixel photograph takes tens of
milliseconds), and so would many small ones in a row.
"""
INLINE_LIMITS = Limits(max_body_bytes=INLINE_BYTES, max_pixels=256 * 256, max_seconds=10.0)
"""Bytes alone do not bound the work: two kilobytes of WebP can hold fifty megapixels, which take seconds. An item that
unpacks to more than this goes to a thread after all.
"""

logger = logging.getLogger(__name__)

_Timed = tuple[Prepared | TwinserveError, float]
"""What preparing an item gives, and the seconds it took."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """An embedding float32 (d,) and the prepared item that it is of; None for one that came as an embedding."""

    vector: npt.NDArray[np.float32]
    prepared: Prepared | None

    @property
    def notices(self) -> tuple[str, ...]:
        """The codes of what was done to the item on the way."""
        return () if self.prepared is None else self.prepared.notices


async def encode(
    model: Model, contents: Sequence[Content], observer: Observer, executor: Executor
) -> list[Encoded | TwinserveError]:
    """Embed items; each outcome stands at its item's place, an item's failure too.

    Places for all of them are taken first, all or nothing, so that an overloaded service refuses before it decodes.
    Raises Overloaded, TooLarge or NotReady as Batcher.reserve does.
    """
    if not contents:
        return []
    with model.batcher.reserve(len(contents)) as places:
        prepared = await _prepare(model, contents, observer, executor)
        ready = [one for one in prepared if not isinstance(one, TwinserveError)]
        rows = iter(await places.submit(ready) if ready else ())
    outcomes: list[Encoded | TwinserveError] = []
    for one in prepared:
        if isinstance(one, TwinserveError):
            outcomes.append(one)
            continue
        row = next(rows)
        outcomes.append(row if isinstance(row, TwinserveError) else Encoded(row, one))
    return outcomes


async def _prepare(
    model: Model, contents: Sequence[Content], observer: Observer, executor: Executor
) -> list[Prepared | TwinserveError]:
    small = len(contents) <= INLINE_ITEMS and all(content.size <= INLINE_BYTES for content in contents)
    inline = [_prepare_inline(model, content) if small else None for content in contents]
    left = [content for content, done in zip(contents, inline, strict=True) if done is None]
    threaded = iter(await _prepare_in_threads(model, left, executor))
    timed = [next(threaded) if done is None else done for done in inline]
    for _, seconds in timed:
        observer.prepared(model.key, seconds)
    return [outcome for outcome, _ in timed]


async def _prepare_in_threads(model: Model, contents: Sequence[Content], executor: Executor) -> list[_Timed]:
    """Prepare items in threads: side by side, or one after another where they are bulk, so that a single compare waits
    for one of a bulk request's items at the most, not for all of them.
    """
    loop = asyncio.get_running_loop()
    runs = (loop.run_in_executor(executor, _prepare_one, model, content, model.limits) for content in contents)
    return [await run for run in runs] if len(contents) > BULK_ABOVE else await asyncio.gather(*runs)


def _prepare_inline(model: Model, content: Content) -> _Timed | None:
    """Prepare one item here and now; None where it unpacks to more than INLINE_LIMITS and is left to a thread."""
    limits = Limits(*map(min, astuple(model.limits), astuple(INLINE_LIMITS)))
    outcome, seconds = _prepare_one(model, content, limits)
    return None if isinstance(outcome, TooLarge) else (outcome, seconds)


def _prepare_one(model: Model, content: Content, limits: Limits) -> _Timed:
    """Decode and prepare one item, and the seconds it took. A failure is an outcome, so that its neighbours go on."""
    began = time.perf_counter()
    outcome: Prepared | TwinserveError
    try:
        outcome = model.encoder.prepare(content.item, limits)
    except TwinserveError as error:
        outcome = error
    except Exception:
        logger.exception("an item failed in preparation")
        outcome = Internal("the service failed on this item; other items are not affected")
    return outcome, time.perf_counter() - began
