"""Items that lie elsewhere: `{"url": ...}` becomes the bytes that were fetched. How they are fetched is not known here.

Fetching comes before places in the queue are taken: a place that waits for a slow host would be refused to callers
whose items are at hand. The request's deadline counts all the same, and a caller who leaves ends its fetches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from app.core.errors import InvalidRequest, TwinserveError
from app.core.modalities.base import Modality
from app.service.items import MEMBERS, URL, Fetched, RawItem


class Fetch(Protocol):
    """Gives the content of each distinct URL, or the error of the items that name it. Does not raise."""

    async def __call__(self, urls: Collection[str], /) -> Mapping[str, bytes | TwinserveError]:
        """Fetch."""


async def bring(raws: Sequence[RawItem], modality: Modality, fetch: Fetch) -> Sequence[RawItem]:
    """The same items in the same order, those with a URL fetched or failed."""
    asked = {place: raw for place, raw in enumerate(raws) if isinstance(raw, Mapping) and URL in raw}
    if not asked:
        return raws
    urls = {place: _url_of(raw, modality) for place, raw in asked.items()}
    contents = await fetch([url for url in urls.values() if isinstance(url, str)])
    brought = list(raws)
    for place, url in urls.items():
        rest = {name: member for name, member in asked[place].items() if name != URL}
        brought[place] = Fetched(contents[url] if isinstance(url, str) else url, rest)
    return brought


async def bring_pairs(
    pairs: Sequence[tuple[RawItem, RawItem]], modality: Modality, fetch: Fetch
) -> Sequence[tuple[RawItem, RawItem]]:
    """The same of pairs."""
    brought = await bring([raw for pair in pairs for raw in pair], modality, fetch)
    return list(zip(brought[::2], brought[1::2], strict=True))


def _url_of(raw: Mapping[str, object], modality: Modality) -> str | TwinserveError:
    """The URL to fetch, or why none is: what is wrong with the item itself is told before anything is fetched."""
    url = raw[URL]
    if others := [name for name in MEMBERS if name in raw]:
        return InvalidRequest(f"an item has exactly one content member; this one has url and {' and '.join(others)}")
    if modality.form != "base64":
        return InvalidRequest(f"a url stands for encoded bytes, and this model takes {modality.form}: send the content")
    return url if isinstance(url, str) else InvalidRequest("url must be a string")
