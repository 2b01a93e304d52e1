"""From distinct items to their embeddings: places in the queue, large items prepared, the batcher. No pairs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from app.core.errors import TooLarge, TwinserveError
from app.core.modalities.base import Prepared
from app.runtime.batcher import BULK_ABOVE, Reservation
from app.runtime.engine import Encoded, Work
from app.runtime.registry import INLINE_BYTES, Model
from app.service.items import Content
from app.service.preparing import Preparer


async def encode(model: Model, contents: Sequence[Content], preparer: Preparer) -> list[Encoded | TwinserveError]:
    """Embed items; each outcome stands at its item's place, an item's failure too.

    Places for all of them are taken first, all or nothing, so that an overloaded service refuses before it decodes.
    Small items are prepared by the batch that runs them, large ones by `preparer` beforehand. Raises Overloaded,
    TooLarge or NotReady as Batcher.reserve does.
    """
    if not contents:
        return []
    with model.batcher.reserve(len(contents)) as places:
        large = [content for content in contents if content.size > INLINE_BYTES]
        prepared = iter(await _prepare(model, large, preparer)) if large else iter(())
        work = [next(prepared) if content.size > INLINE_BYTES else content.item for content in contents]
        outcomes = await _run(places, work)
        unpacked = [
            place
            for place, (outcome, content) in enumerate(zip(outcomes, contents, strict=True))
            if isinstance(outcome, TooLarge) and content.size <= INLINE_BYTES
        ]  # small as they came, and too large for a batch once unpacked: perhaps not too large for the model
        if unpacked:
            again = await _run(places, await _prepare(model, [contents[place] for place in unpacked], preparer))
            for place, outcome in zip(unpacked, again, strict=True):
                outcomes[place] = outcome
    return outcomes


async def _prepare(
    model: Model, contents: Sequence[Content], preparer: Preparer
) -> Sequence[Prepared | TwinserveError]:
    """Prepare items in threads: side by side, or one after another where they are bulk, so that a single compare waits
    for one of a bulk request's items at the most, not for all of them.
    """
    runs = (preparer.prepare(model, content.item) for content in contents)
    return [await run for run in runs] if len(contents) > BULK_ABOVE else await asyncio.gather(*runs)


async def _run(
    places: Reservation[Work, Encoded], work: Sequence[Work | TwinserveError]
) -> list[Encoded | TwinserveError]:
    """Have batches run what did not fail before."""
    good = [one for one in work if not isinstance(one, TwinserveError)]
    outcomes = iter(await places.submit(good) if good else ())
    return [one if isinstance(one, TwinserveError) else next(outcomes) for one in work]
