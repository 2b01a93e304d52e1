"""A request holds its models to its end, whatever is switched meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from app.core.bundle import Trial
from app.core.errors import NotReady, TwinserveError
from app.core.evidence import Selectors
from app.core.observe import NullObserver
from app.runtime.control import Switch
from app.runtime.registry import Model, Registry
from app.runtime.stock import Stock
from app.service import Comparison, Service
from tests.serving import EXECUTOR, load, today
from tests.tiny import make_tiny, tiny_png

pytestmark = pytest.mark.anyio


def order(generation: int, *models: Model) -> Switch:
    return Switch(generation, {model.key: model.digest for model in models})


async def test_request_that_still_fetches_its_items_keeps_the_model_that_it_was_promised() -> None:
    gone, fetching, fetched = asyncio.Event(), asyncio.Event(), asyncio.Event()
    stock = Stock(on_gone=gone.set)
    old, new = load(make_tiny(), make_tiny(version="1.1.0"))
    for model in (old, new):
        stock.add(model)
    registry: Registry = stock.switch(order(1, old, new), None)

    async def fetch(urls: Collection[str], /) -> Mapping[str, bytes | TwinserveError]:
        fetching.set()
        await fetched.wait()
        return {url: tiny_png(1, int(url[-1])) for url in urls}

    service = Service(lambda: registry, NullObserver(), EXECUTOR, today, fetch=fetch)
    pair = ({"url": "https://x/0"}, {"url": "https://x/1"})
    asking = asyncio.create_task(service.compare("tiny@1.0.0", [pair], Selectors(), None))
    async with asyncio.timeout(60):
        await fetching.wait()
        registry = stock.switch(order(2, new), None)
        await asyncio.sleep(0)
        fetched.set()
        [result] = await asking
        await gone.wait()
    assert isinstance(result, Comparison)
    assert result.bundle.key == "tiny@1.0.0"
    with pytest.raises(NotReady):
        old.batcher.reserve(1)


async def test_switch_serves_exactly_what_it_names_under_the_names_it_says() -> None:
    stock = Stock(on_gone=lambda: None)
    one, two, three = load(make_tiny(), make_tiny(version="1.1.0"), make_tiny(version="1.2.0"))
    for model in (one, two, three):
        stock.add(model)
    said = Switch(
        1,
        order(1, one, two, three).models,
        aliases={"best": "tiny@1.1.0"},
        hidden=frozenset({two.key, three.key}),
        trials={one.key: Trial(three.key, 0.5)},
    )
    registry = stock.switch(said, "best")
    assert (registry.get(None), registry.get("tiny"), registry.get(three.key)) == (two, one, three)
    shadow = registry.shadow(one)
    assert shadow is not None
    assert (shadow.model, shadow.share) == (three, 0.5)
    assert registry.shadow(two) is None
    with pytest.raises(KeyError):
        stock.switch(Switch(2, {"tiny@9.0.0": "unknown"}), None)
    await stock.close()
    with pytest.raises(NotReady):
        one.batcher.reserve(1)
