"""Items that lie elsewhere, without HTTP: what is fetched, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from app.core.errors import InvalidRequest, TwinserveError
from app.core.modalities.base import Modality
from app.service.items import Blob, Fetched, RawItem
from app.service.remote import bring
from tests.service.test_items import FormOnly

pytestmark = pytest.mark.anyio


async def fetch(urls: Collection[str], /) -> Mapping[str, bytes | TwinserveError]:
    return {url: url.encode() for url in urls}


async def never(urls: Collection[str], /) -> Mapping[str, bytes | TwinserveError]:
    assert not urls
    return {}


def modality(form: str) -> Modality:
    return FormOnly(form)  # type: ignore[return-value]  # only the form is read


async def test_fetched_items_keep_their_place_and_their_other_members() -> None:
    raws: list[RawItem] = [{"base64": "AA=="}, {"url": "u", "page": 2}, Blob(b"x", None), {"url": "v"}, {"url": "u"}]
    brought = await bring(raws, modality("base64"), fetch)
    assert brought == [raws[0], Fetched(b"u", {"page": 2}), raws[2], Fetched(b"v", {}), Fetched(b"u", {})]


@pytest.mark.parametrize("form", ["text", "values"])
async def test_model_that_takes_no_bytes_has_nothing_fetched(form: str) -> None:
    [brought] = await bring([{"url": "u"}], modality(form), never)
    assert isinstance(brought, Fetched)
    assert isinstance(brought.content, InvalidRequest)
    assert form in brought.content.detail


@pytest.mark.parametrize("item", [{"url": 1}, {"url": ""} | {"text": "x"}, {"url": "u", "embedding": []}])
async def test_item_that_is_wrong_in_itself_has_nothing_fetched(item: dict[str, object]) -> None:
    [brought] = await bring([item], modality("base64"), never)
    assert isinstance(brought, Fetched)
    assert isinstance(brought.content, InvalidRequest)
