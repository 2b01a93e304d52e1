"""The use cases over real models: what is embedded once, where work is done, which errors are whose.

A little long, since all of its cases share the real models made once.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.core.errors import (
    Internal,
    InvalidRequest,
    OperatingPointUnavailable,
    Overloaded,
    TooLarge,
    TwinserveError,
    UnusableInput,
)
from app.core.evidence import Selectors, fit_together
from app.core.evidence.applicability import distances
from app.core.modalities.base import Item, Limits, Prepared
from app.core.observe import NullObserver
from app.runtime.batcher import BULK_ABOVE
from app.runtime.registry import INLINE_BYTES, Registry
from app.service import Comparison, Reference, Service
from tests.serving import EXECUTOR, Gate, Recorder, altered, b64, load, picture, today
from tests.tiny import make_tiny, tiny_png

pytestmark = pytest.mark.anyio
NO = Selectors()


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


class CountingExecutor(ThreadPoolExecutor):
    """A real pool that counts what it is given."""

    submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


def noise(side: int) -> dict[str, str]:
    """A picture that does not compress."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"base64": b64(buffer.getvalue())}


async def test_equal_items_of_a_request_are_embedded_once(tiny: Registry) -> None:
    gate, recorder = Gate(), Recorder()
    gate.opened.set()
    service = Service(lambda: registry, recorder, EXECUTOR, today)
    registry = gate.registry(next(iter(tiny)), cap=64, observer=recorder)
    pairs = [(picture(0), picture(identity)) for identity in range(6)]
    results = await service.compare(None, pairs, NO, None)
    assert len(results) == 6
    assert sum(gate.ran) == recorder.prepared_items == 6
    await service.embed(None, [picture(0)] * 5)
    assert sum(gate.ran) == 7


async def test_equal_items_of_a_file_are_embedded_once_and_many_of_them_are_bulk(tiny: Registry) -> None:
    gate, recorder = Gate(), Recorder()
    gate.opened.set()
    [model] = tiny
    registry = gate.registry(model, cap=64, observer=recorder)
    sizes: list[int] = []
    reserve = registry.get(None).batcher.reserve

    class Counting:
        """The batcher, noting how many places are taken at once."""

        def reserve(self, items: int) -> Any:
            sizes.append(items)
            return reserve(items)

    batcher: Any = Counting()
    counted = Registry([replace(registry.get(None), batcher=batcher)], default=None, aliases={})
    service = Service(lambda: counted, recorder, EXECUTOR, today)
    file = [Reference(str(identity), [picture(identity), picture(0)]) for identity in range(10)]
    result = await service.match(None, picture(3), file, "max", Selectors(threshold=0.5))
    assert len(result.references) == 10
    assert sum(gate.ran) == recorder.prepared_items == 10  # the probe is one of them
    assert sizes == [10]
    assert sizes[0] > BULK_ABOVE


async def test_file_of_an_overloaded_model_is_refused_before_anything_is_decoded(tiny: Registry) -> None:
    gate, recorder = Gate(), Recorder()
    registry = gate.registry(next(iter(tiny)), queue_items=3, observer=recorder)
    service = Service(lambda: registry, recorder, EXECUTOR, today)
    first = asyncio.create_task(service.embed(None, [picture(0), picture(1)]))
    await gate.wait_started()
    prepared = recorder.prepared_items
    with pytest.raises(Overloaded):
        await service.match(None, picture(2), [Reference("a", [picture(3), picture(4)])], "max", NO)
    assert recorder.prepared_items == prepared
    gate.opened.set()
    await first


async def test_file_asks_for_what_the_evidence_supports_before_any_item_is_read(tiny: Registry) -> None:
    service = Service(lambda: tiny, NullObserver(), EXECUTOR, today)
    with pytest.raises(OperatingPointUnavailable) as caught:
        await service.match(None, {}, [Reference("a", [{}, {}])], "max", Selectors(max_fmr=0.1))
    assert caught.value.pointer == "/references/0/items"


async def test_small_items_are_left_to_their_batch_and_large_ones_are_prepared_in_threads(tiny: Registry) -> None:
    large = noise(200)
    assert len(large["base64"]) * 3 / 4 > INLINE_BYTES
    with CountingExecutor(1) as executor:
        service = Service(lambda: tiny, NullObserver(), executor, today)
        await service.compare(None, [(picture(0), picture(1))], NO, None)
        assert executor.submitted == 0
        await service.embed(None, [picture(identity) for identity in range(12)])
        assert executor.submitted == 0
        await service.compare(None, [(picture(0), large)], NO, None)
        assert executor.submitted == 1


async def test_few_bytes_that_unpack_to_many_pixels_are_prepared_in_a_thread(tiny: Registry) -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((900, 900), Image.Resampling.NEAREST).save(buffer, "PNG")
    assert len(buffer.getvalue()) <= INLINE_BYTES
    vast = {"base64": b64(buffer.getvalue())}
    recorder = Recorder()
    with CountingExecutor(1) as executor:
        [model] = tiny
        registry = altered(model, observer=recorder)
        service = Service(lambda: registry, recorder, executor, today)
        [result] = await service.compare(None, [(picture(0), vast)], NO, None)
        assert isinstance(result, Comparison)
        assert executor.submitted == 1
        assert recorder.prepared_items == 3  # the vast one twice: its batch read no more than its header


async def test_what_is_too_large_for_a_batch_and_for_the_model_is_refused_by_the_model(tiny: Registry) -> None:
    buffer = io.BytesIO()
    Image.new("1", (1001, 1000)).save(buffer, "PNG")  # LIMITS allow a million pixels
    service = Service(lambda: tiny, NullObserver(), EXECUTOR, today)
    with pytest.raises(TooLarge, match=r"1001 x 1000 pixels; at most 1000000 "):
        await service.embed(None, [{"base64": b64(buffer.getvalue())}])


async def test_large_preparation_does_not_stall_the_loop(tiny: Registry) -> None:
    [model] = tiny
    proceed, began = threading.Event(), threading.Event()

    class Slow:
        """The encoder, preparing only when told."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model.encoder, name)

        def prepare(self, item: Item, limits: Limits) -> Prepared:
            began.set()
            assert proceed.wait(10)
            return model.encoder.prepare(item, limits)

    slow: Any = Slow()
    registry = altered(model, encoder=slow)
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    task = asyncio.create_task(service.embed(None, [noise(200)]))
    await asyncio.to_thread(began.wait, 10)
    assert not task.done()  # the loop runs this line while the preparation waits
    proceed.set()
    assert (await task).vectors.shape == (1, 16)


async def test_overload_refuses_before_anything_is_decoded(tiny: Registry) -> None:
    gate, recorder = Gate(), Recorder()
    registry = gate.registry(next(iter(tiny)), queue_items=2, observer=recorder)
    service = Service(lambda: registry, recorder, EXECUTOR, today)
    first = asyncio.create_task(service.embed(None, [picture(0), picture(1)]))
    await gate.wait_started()
    prepared = recorder.prepared_items
    with pytest.raises(Overloaded):
        await service.compare(None, [(picture(2), picture(3))], NO, None)
    assert recorder.prepared_items == prepared
    gate.opened.set()
    await first


async def test_places_are_given_back_whatever_happens(tiny: Registry) -> None:
    gate = Gate()
    gate.opened.set()
    registry = gate.registry(next(iter(tiny)), queue_items=2)
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    for _ in range(3):
        [result] = await service.compare(None, [({"base64": "AAAA"}, {"base64": "BBBB"})], NO, None)
        assert isinstance(result, UnusableInput)
    [result] = await service.compare(None, [(picture(0), picture(1))], NO, None)
    assert isinstance(result, Comparison)


async def test_bug_in_a_preparation_is_the_error_of_that_item_alone(
    tiny: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    [model] = tiny

    class Faulty:
        """The encoder, failing on one item as a bug would."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model.encoder, name)

        def prepare(self, item: Item, limits: Limits) -> Prepared:
            if item["bytes"] == b"\x00\x00\x00":
                raise ZeroDivisionError("/secret")
            return model.encoder.prepare(item, limits)

    faulty: Any = Faulty()
    registry = altered(model, encoder=faulty)
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    pairs = [(picture(0), picture(1)), ({"base64": "AAAA"}, picture(1))]
    good, bad = await service.compare(None, pairs, NO, None)
    assert isinstance(good, Comparison)
    assert isinstance(bad, Internal)
    assert "secret" not in bad.detail
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_item_that_fails_in_the_model_fails_alone(tiny: Registry, caplog: pytest.LogCaptureFixture) -> None:
    [model] = tiny
    poisoned = picture(7)
    pixels = model.encoder.prepare({"bytes": base64.b64decode(poisoned["base64"])}, Limits()).windows[0]

    class Poisoned:
        """The encoder, failing on every batch with that item."""

        def __getattr__(self, name: str) -> Any:
            return getattr(model.encoder, name)

        def embed_prepared(self, items: Sequence[Prepared], **options: Any) -> Any:
            if any(np.array_equal(item.windows[0]["pixels"], pixels["pixels"]) for item in items):
                raise RuntimeError("poisoned")
            return model.encoder.embed_prepared(items, **options)

    registry = altered(model, encoder=Poisoned())
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    results = await service.compare(None, [(picture(0), picture(1)), (picture(2), poisoned)], NO, None)
    assert isinstance(results[0], Comparison)
    assert isinstance(results[1], Internal)
    assert results[1].pointer == "/b"
    assert len(caplog.records) == 1


async def test_both_sides_bad_reports_the_first(tiny: Registry) -> None:
    service = Service(lambda: tiny, NullObserver(), EXECUTOR, today)
    [result] = await service.compare(None, [({}, {"base64": "AAAA"})], NO, None)
    assert isinstance(result, InvalidRequest)
    assert result.pointer == "/a"


async def test_shared_bad_item_points_at_each_place(tiny: Registry) -> None:
    service = Service(lambda: tiny, NullObserver(), EXECUTOR, today)
    bad = {"base64": "AAAA"}
    results = await service.compare(None, [(bad, picture(0)), (picture(0), bad)], NO, None)
    assert [result.pointer for result in results if isinstance(result, TwinserveError)] == ["/a", "/b"]


async def test_pair_of_embeddings_needs_no_place_in_the_queue(tiny: Registry) -> None:
    gate = Gate()  # stays shut
    registry = gate.registry(next(iter(tiny)), queue_items=1)
    given = (await Service(lambda: tiny, NullObserver(), EXECUTOR, today).embed(None, [picture(0), picture(1)])).vectors
    fingerprint = next(iter(tiny)).bundle.fingerprint
    items = [{"embedding": row.astype(float).tolist(), "fingerprint": fingerprint} for row in given]
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    different, same = await service.compare(None, [(items[0], items[1]), (items[0], dict(items[0]))], NO, None)
    assert isinstance(different, Comparison)
    assert isinstance(same, Comparison)
    assert same.score == np.float32(1)
    assert [reason.code for reason in same.judgement.reasons] == ["identical_items"]


async def test_item_unlike_those_measured_makes_the_verdict_undetermined_and_names_its_side(tiny: Registry) -> None:
    [model] = tiny
    calibration = model.bundle.calibration
    assert calibration is not None
    assert calibration.applicability is not None
    vectors = model.encoder.embed([{"bytes": tiny_png(0, variant)} for variant in (0, 1)], Limits())
    near, far = np.argsort(distances(calibration.applicability, vectors))
    between = float(distances(calibration.applicability, vectors).mean())
    narrow = calibration.applicability.model_copy(update={"threshold": between})
    bundle = replace(model.bundle, calibration=calibration.model_copy(update={"applicability": narrow}))
    registry = altered(model, bundle=bundle)
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    pairs = [(picture(0, near), picture(0, far)), (picture(0, far), picture(0, near))]
    for result, side in zip(await service.compare(None, pairs, NO, None), "ba", strict=True):
        assert isinstance(result, Comparison)
        assert result.judgement.verdict == "undetermined"
        assert [(reason.code, reason.side) for reason in result.judgement.reasons] == [("outside_calibration", side)]


async def test_input_unlike_those_measured_is_refused_though_its_embedding_is_ordinary(tiny: Registry) -> None:
    [model] = tiny
    calibration = model.bundle.calibration
    assert calibration is not None
    summaries = np.stack(
        [
            model.encoder.summarize(model.encoder.prepare({"bytes": tiny_png(identity, variant)}, Limits()))
            for identity in range(40)
            for variant in range(6)
        ]
    )
    (measured,) = fit_together([summaries], np.repeat(np.arange(40), 6), seed=0)
    bundle = replace(model.bundle, calibration=calibration.model_copy(update={"input_applicability": measured}))
    service = Service(lambda: altered(model, bundle=bundle), NullObserver(), EXECUTOR, today)
    buffer = io.BytesIO()
    Image.fromarray(np.indices((8, 8)).sum(axis=0).astype(np.uint8) % 2 * 255).save(buffer, "PNG")
    foreign = {"base64": b64(buffer.getvalue())}
    own, other = await service.compare(None, [(picture(0, 0), picture(0, 1)), (foreign, picture(0, 1))], NO, None)
    assert isinstance(own, Comparison)
    assert own.judgement.reasons == ()
    assert isinstance(other, Comparison)
    assert ("outside_calibration", "a") in [(reason.code, reason.side) for reason in other.judgement.reasons]

    embedded = await service.embed(None, [picture(0, 0), foreign])
    assert [(notice.code, notice.pointer) for notice in embedded.notices] == [("outside_calibration", "/inputs/1")]
    given = {"embedding": embedded.vectors[1].astype(float).tolist(), "fingerprint": bundle.fingerprint}
    [unseen] = await service.compare(None, [(given, picture(0, 1))], NO, None)
    assert isinstance(unseen, Comparison)
    assert [(notice.code, notice.pointer) for notice in unseen.notices] == [("input_unseen", "/a")]


async def test_item_of_a_file_unlike_those_measured_decides_nothing_and_is_named(tiny: Registry) -> None:
    [model] = tiny
    calibration = model.bundle.calibration
    assert calibration is not None
    assert calibration.applicability is not None
    items = [picture(identity) for identity in range(3)]
    vectors = model.encoder.embed([{"bytes": tiny_png(identity, 0)} for identity in range(3)], Limits())
    far = distances(calibration.applicability, vectors)
    nearest, middle, farthest = np.argsort(far)
    between = float(np.sort(far)[1:].mean())
    narrow = calibration.applicability.model_copy(update={"threshold": between})
    bundle = replace(model.bundle, calibration=calibration.model_copy(update={"applicability": narrow}))
    registry = altered(model, bundle=bundle)
    service = Service(lambda: registry, NullObserver(), EXECUTOR, today)
    file = [Reference("near", [items[middle]]), Reference("far", [items[farthest]])]
    found = await service.match(None, items[nearest], file, "max", Selectors(threshold=-1.0))
    by_id = {one.id: one.judgement for one in found.references}
    assert by_id["near"].verdict == "match"
    assert by_id["far"].verdict == "undetermined"
    assert [(r.code, r.side) for r in by_id["far"].reasons] == [("outside_calibration", "reference")]
    lost = await service.match(None, items[farthest], [Reference("near", [items[middle]])], "max", NO)
    assert lost.verdict == "undetermined"
    assert [(reason.code, reason.side) for reason in lost.reasons] == [("outside_calibration", "probe")]


async def test_evidence_out_of_date_says_so(tiny: Registry) -> None:
    service = Service(lambda: tiny, NullObserver(), EXECUTOR, lambda: today() + timedelta(days=4000))
    [result] = await service.compare(None, [(picture(0, 0), picture(0, 1))], NO, None)
    assert isinstance(result, Comparison)
    assert [reason.code for reason in result.judgement.reasons] == ["calibration_stale"]
    assert result.judgement.verdict == "match"


async def test_request_keeps_its_snapshot_to_the_end(tiny: Registry) -> None:
    gate, calls = Gate(), []
    registry = gate.registry(next(iter(tiny)))

    def models() -> Registry:
        calls.append(1)
        return registry

    service = Service(models, NullObserver(), EXECUTOR, today)
    task = asyncio.create_task(service.compare(None, [(picture(0), picture(1))], NO, None))
    await gate.wait_started()
    gate.opened.set()
    await task
    assert len(calls) == 1
