"""From distinct items to their embeddings: places in the queue, large items prepared, the batcher. No pairs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from app.core.errors import TooLarge, TwinserveError
from app.core.modalities.base import Prepared
from app.core.observe import Steps
from app.runtime.batcher import BULK_ABOVE, Reservation
from app.runtime.engine import Encoded, Work
from app.runtime.queue import Waiting
from app.runtime.registry import INLINE_BYTES, Model
from app.service.items import Content
from app.service.preparing import Preparer


async def encode(
    model: Model, contents: Sequence[Content], preparer: Preparer, steps: Steps
) -> list[Encoded | TwinserveError]:
    """Embed items; each outcome stands at its item's place, an item's failure too. `steps` gets what they went through.

    Places for all of them are taken first, all or nothing, so that an overloaded service refuses before it decodes.
    Small items are prepared by the batch that runs them, large ones by `preparer` beforehand. Raises Overloaded,
    TooLarge or NotReady as Batcher.reserve does.
    """
    if not contents:
        return []
    with model.batcher.reserve(len(contents)) as places:
        large = [content for content in contents if content.size > INLINE_BYTES]
        prepared = iter(await _prepare(model, large, preparer, steps)) if large else iter(())
        work = [next(prepared) if content.size > INLINE_BYTES else content.item for content in contents]
        outcomes = await _run(places, work, steps)
        unpacked = [
            place
            for place, (outcome, content) in enumerate(zip(outcomes, contents, strict=True))
            if isinstance(outcome, TooLarge) and content.size <= INLINE_BYTES
        ]  # small as they came, and too large for a batch once unpacked: perhaps not too large for the model
        if unpacked:
            ready = await _prepare(model, [contents[place] for place in unpacked], preparer, steps)
            again = await _run(places, ready, steps)
            for place, outcome in zip(unpacked, again, strict=True):
                outcomes[place] = outcome
    return outcomes


async def _prepare(
    model: Model, contents: Sequence[Content], preparer: Preparer, steps: Steps
) -> Sequence[Prepared | TwinserveError]:
    """Prepare items in threads: side by side, or one after another where they are bulk, so that a single compare waits
    for one of a bulk request's items at the most, not for all of them.
    """
    began = time.perf_counter()
    runs = (preparer.prepare(model, content.item) for content in contents)
    prepared = [await run for run in runs] if len(contents) > BULK_ABOVE else await asyncio.gather(*runs)
    steps.took("prepare", began, time.perf_counter())
    return prepared


async def _run(
    places: Reservation[Work, Encoded], work: Sequence[Work | TwinserveError], steps: Steps
) -> list[Encoded | TwinserveError]:
    """Have batches run what did not fail before."""
    good = [one for one in work if not isinstance(one, TwinserveError)]
    ran = await places.submit(good) if good else []
    if places.last is not None:
        _tell(steps, places.last)
    outcomes = iter(ran)
    return [one if isinstance(one, TwinserveError) else next(outcomes) for one in work]


def _tell(steps: Steps, last: Waiting[Work, Encoded]) -> None:
    """What the item that was done last went through. One that failed did so while it was prepared, all but always."""
    outcome = last.future.result()
    runs_at = last.taken_at + outcome.preparation_s if isinstance(outcome, Encoded) else last.done_at
    steps.took("queue", last.since, last.taken_at)
    steps.took("prepare", last.taken_at, runs_at)
    steps.took("inference", runs_at, last.done_at)
