"""Which model a name means, and that a bad bundle is refused without harm to the others."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app.core.bundle import Bundle
from app.core.errors import BundleRefused, DeviceUnavailable, InvalidRequest, NotReady, UnknownModel
from app.core.modalities.base import Limits
from app.core.observe import NullObserver
from app.runtime import registry as registry_module
from app.runtime.encoder import Encoder
from app.runtime.engine import Encoded
from app.runtime.registry import Registry
from tests.serving import load_models
from tests.tiny import make_tiny, tiny_item


class Seen(NullObserver):
    """Remembers what the engine reported."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def queued(self, model: str, seconds: float) -> None:
        self.events.append(("queued", model, seconds >= 0))

    def batch(self, model: str, items: int, seconds: float) -> None:
        self.events.append(("batch", model, items, seconds > 0))


def load(bundles: Sequence[Bundle], **changes: Any) -> tuple[Registry, dict[str, str]]:
    settings: dict[str, Any] = {
        "default": None,
        "aliases": {},
        "limits": Limits(),
        "device": "cpu",
        "threads": 1,
        "batch_ms": 1000.0,
        "queue_items": 100,
        "queue_ms": 1000.0,
        "observer": NullObserver(),
        "executor": ThreadPoolExecutor(1),
    }
    return load_models(bundles, **settings | changes)


def tiny(name: str = "tiny", version: str = "1.0.0", **options: Any) -> Bundle:
    return make_tiny(name=name, version=version, calibrated=False, **options)


def registry_of(keys: Sequence[str], **changes: Any) -> Registry:
    served, refused = load([tiny(*key.split("@")) for key in keys], **changes)
    assert refused == {}
    return served


KEYS = ["shapes@1.0.0", "tiny@1.9.0", "tiny@1.10.0"]


@pytest.mark.parametrize(
    ("name", "aliases", "key"),
    [
        ("tiny", {}, "tiny@1.10.0"),
        ("tiny@1.9.0", {}, "tiny@1.9.0"),
        ("shapes", {}, "shapes@1.0.0"),
        ("tiny", {"tiny": "tiny@1.9.0"}, "tiny@1.9.0"),
        ("tiny@1.10.0", {"tiny": "tiny@1.9.0"}, "tiny@1.10.0"),
        ("any", {"any": "tiny"}, "tiny@1.10.0"),
        ("any", {"any": "shapes@1.0.0"}, "shapes@1.0.0"),
    ],
)
def test_a_name_means_its_alias_or_its_highest_version(name: str, aliases: Mapping[str, str], key: str) -> None:
    assert registry_of(KEYS, aliases=aliases).get(name).key == key


@pytest.mark.parametrize("name", ["other", "tiny@2.0.0", "tiny@", "", "@1.9.0", "TINY"])
def test_an_unknown_model_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownModel, match="shapes, tiny") as caught:
        registry_of(KEYS).get(name)
    assert caught.value.pointer == "/model"


def test_an_alias_of_a_version_that_is_not_served_never_means_another() -> None:
    with pytest.raises(UnknownModel):
        registry_of(KEYS, aliases={"tiny": "tiny@3.0.0"}).get("tiny")


def test_a_demonstration_is_meant_only_where_nothing_is_released() -> None:
    served, _ = load([tiny(), tiny(version="2.0.0", status="demonstration"), tiny("show", status="demonstration")])
    assert served.get("tiny").key == "tiny@1.0.0"
    assert served.get("tiny@2.0.0").key == "tiny@2.0.0"
    assert served.get("show").key == "show@1.0.0"


def test_no_name_means_the_default_or_the_only_name() -> None:
    assert registry_of(KEYS, default="shapes").get(None).key == "shapes@1.0.0"
    assert registry_of(KEYS[1:]).get(None).key == "tiny@1.10.0"
    with pytest.raises(InvalidRequest, match="set `model` to one of shapes, tiny"):
        registry_of(KEYS).get(None)


def test_a_bad_bundle_is_refused_and_the_others_are_served() -> None:
    good = tiny()
    wrong = dataclasses.replace(good.golden, served=-good.golden.served)
    bad = dataclasses.replace(tiny("bad"), golden=wrong)
    served, refused = load([bad, good])
    assert [model.key for model in served] == ["tiny@1.0.0"]
    assert len(served) == 1
    assert list(refused) == ["bad@1.0.0"]
    assert "not reproduced" in refused["bad@1.0.0"]


def test_a_device_that_is_not_to_be_had_refuses_the_start_not_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_device(*_: object, **__: object) -> Encoder:
        raise DeviceUnavailable("device cuda: none")

    monkeypatch.setattr(registry_module, "Encoder", no_device)
    with pytest.raises(DeviceUnavailable):
        load([tiny()])


@pytest.mark.parametrize(
    ("seconds", "cap"),
    [
        ({1: 0.004, 2: 0.006, 4: 0.010, 8: 0.018, 16: 0.034, 32: 0.066}, 8),
        ({1: 0.0001, 2: 0.0002, 4: 0.0003, 8: 0.0005, 16: 0.0009, 32: 0.0015}, 32),
        ({1: 0.5}, 1),
        ({1: 0.001, 2: 0.9}, 1),
    ],
)
def test_a_batch_is_capped_in_milliseconds(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], cap: int
) -> None:
    monkeypatch.setattr(Encoder, "warm", lambda *_, **__: {(): seconds})
    served, _ = load([tiny()], batch_ms=20.0)
    assert served.get(None).batcher.cap == cap


@pytest.mark.anyio
@pytest.mark.parametrize("inline_below", [0.0, 1000.0])
async def test_a_served_model_embeds_what_its_encoder_embeds(
    monkeypatch: pytest.MonkeyPatch, inline_below: float
) -> None:
    monkeypatch.setattr(registry_module, "INLINE_BELOW_S", inline_below)
    seen = Seen()
    with ThreadPoolExecutor(1) as executor:
        served, _ = load([tiny()], observer=seen, executor=executor)
        model = served.get("tiny")
        items = [tiny_item(identity, 0) for identity in range(5)]
        prepared = [model.encoder.prepare(item, model.limits) for item in items]
        with model.batcher.reserve(5) as places:
            outcomes = await places.submit([*prepared[:3], *items[3:]])
        for outcome, expected in zip(outcomes, model.encoder.embed(items, Limits()), strict=True):
            assert isinstance(outcome, Encoded)
            np.testing.assert_allclose(outcome.vector, expected, rtol=0, atol=1e-6)
        assert seen.events.count(("queued", "tiny@1.0.0", True)) == 5
        assert ("batch", "tiny@1.0.0", 5, True) in seen.events
        await model.batcher.close()
        with pytest.raises(NotReady):
            model.batcher.reserve(1)


@pytest.mark.anyio
async def test_the_death_of_an_engine_is_told_with_its_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry_module, "INLINE_BELOW_S", 0.0)
    deaths: list[tuple[str, str]] = []
    executor = ThreadPoolExecutor(1)
    served, _ = load([tiny()], executor=executor, on_death=lambda *death: deaths.append(death))
    model = served.get(None)
    executor.shutdown()
    prepared = model.encoder.prepare(tiny_item(0, 0), model.limits)
    with model.batcher.reserve(1) as places, pytest.raises(Exception, match="stopped"):
        await places.submit([prepared])
    assert [key for key, _ in deaths] == ["tiny@1.0.0"]
    assert not model.batcher.alive
    assert caplog.records


@pytest.mark.anyio
async def test_models_can_be_loaded_while_the_loop_runs() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(beat())
    served, _ = await asyncio.to_thread(load, [tiny(), tiny("other")])
    task.cancel()
    assert beats > 1
    assert len(served) == 2


def test_a_bundle_that_is_refused_at_warming_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> dict[int, float]:
        raise BundleRefused("graph: a batch of 2 fails: the model gave float32 (1, 16) instead of float32 (2, 16)")

    monkeypatch.setattr(Encoder, "warm", fail)
    served, refused = load([tiny()])
    assert len(served) == 0
    assert refused["tiny@1.0.0"].startswith("graph: a batch of 2 fails")
    with pytest.raises(InvalidRequest):
        served.get(None)
