"""Vast items are prepared one at a time, however many there are and whatever becomes of their callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import TooLarge
from app.core.modalities.base import Item, Limits, Prepared
from app.core.observe import NullObserver
from app.runtime.registry import Model
from app.service import Service
from app.service.preparing import QUICK_PIXELS, Preparer
from tests.core.modalities import texts
from tests.service.test_usecases import CountingExecutor
from tests.serving import altered, load, today
from tests.tiny import make_tiny, tiny_item

pytestmark = pytest.mark.anyio


class Vast:
    """An encoder for which items named vast have more pixels than are quick; those wait until they are let go."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.lock = threading.Lock()
        self.go = threading.Semaphore(0)
        self.under_way = self.most = self.begun = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model.encoder, name)

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        if "vast" not in item:
            return self._model.encoder.prepare(item, limits)
        if limits.max_pixels <= QUICK_PIXELS:
            raise TooLarge("the picture has too many pixels")
        with self.lock:
            self.under_way, self.begun = self.under_way + 1, self.begun + 1
            self.most = max(self.most, self.under_way)
        assert self.go.acquire(timeout=60)
        with self.lock:
            self.under_way -= 1
        return self._model.encoder.prepare(tiny_item(0, 0), limits)


VAST: Item = {"vast": True}


@pytest.fixture(scope="module")
def tiny() -> Model:
    [model] = load(make_tiny(calibrated=False))
    return model


@pytest.fixture
def vast(tiny: Model) -> Vast:
    return Vast(tiny)


@pytest.fixture
def model(tiny: Model, vast: Vast) -> Model:
    encoder: Any = vast
    [model] = altered(tiny, encoder=encoder)
    return replace(model, limits=Limits())


@pytest.fixture
def preparer() -> Iterator[Preparer]:
    with ThreadPoolExecutor(2) as executor:
        yield Preparer(executor)


async def begun(vast: Vast, count: int) -> None:
    async with asyncio.timeout(60):
        while vast.begun < count:
            await asyncio.sleep(0.005)


async def test_vast_items_leave_a_thread_to_the_others(model: Model, vast: Vast, preparer: Preparer) -> None:
    large = [asyncio.create_task(preparer.prepare(model, VAST)) for _ in range(4)]
    await begun(vast, 1)
    for identity in range(5):
        assert isinstance(await preparer.prepare(model, tiny_item(identity, 0)), Prepared)
    assert not any(task.done() for task in large)
    vast.go.release(4)
    assert all(isinstance(one, Prepared) for one in await asyncio.gather(*large))
    assert (vast.begun, vast.most) == (4, 1)


async def test_vast_item_whose_caller_went_is_not_begun_and_one_under_way_keeps_its_place(
    model: Model, vast: Vast, preparer: Preparer
) -> None:
    gone, waiting, last = (asyncio.create_task(preparer.prepare(model, VAST)) for _ in range(3))
    await begun(vast, 1)
    for task in (gone, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(await preparer.prepare(model, tiny_item(0, 0)), Prepared)
    assert (vast.begun, last.done()) == (1, False)  # the thread still works on the first
    vast.go.release(2)
    assert isinstance(await last, Prepared)
    assert (vast.begun, vast.most) == (2, 1)


async def test_item_beyond_the_models_own_limits_is_refused_by_them(tiny: Model, preparer: Preparer) -> None:
    small = replace(tiny, limits=Limits(max_pixels=10))
    outcome = await preparer.prepare(small, tiny_item(0, 0))
    assert isinstance(outcome, TooLarge)
    assert "at most 10 in all" in outcome.detail


async def test_long_text_is_prepared_in_a_thread_and_stalls_no_batch() -> None:
    bundle = texts.encoder(texts.wordpiece(), **texts.WINDOWS).bundle
    registry = load(bundle)
    with CountingExecutor(1) as executor:
        service = Service(lambda: registry, NullObserver(), executor, today)
        await service.embed(None, [{"text": texts.words(100)}])
        assert executor.submitted == 0
        await service.embed(None, [{"text": texts.words(200)}])
        assert executor.submitted == 1
