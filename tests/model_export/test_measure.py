"""Embedding for a measurement, and the guard band: items of one window and of several, of one bucket and of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.core.bundle import CPU, CUDA, Bundle, seal
from app.core.modalities.base import Limits, Prepared
from app.core.scoring import pool, similarity
from app.runtime.encoder import Encoder, Largest
from app.runtime.session import Device
from model_export.errors import CommandError
from model_export.measure import (
    PER_BUCKET,
    Embeddings,
    Vectors,
    embed_all,
    encoders_at_hand,
    guard_band,
    sample_for_band,
)
from tests.core.modalities.recordings import ecg, masked_graph, series_bundle
from tests.tiny import make_tiny, open_tiny, tiny_item


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return series_bundle(masked_graph())


def recording(seconds: float, seed: int = 0) -> dict[str, object]:
    return {"values": ecg(seconds, seed=seed).tolist(), "rate": 250}


def test_refused_items_are_counted_by_code_and_the_others_stay_in_order() -> None:
    encoder = open_tiny(make_tiny(calibrated=False))
    items = [tiny_item(0, 0), {"bytes": b""}, tiny_item(1, 0), {"bytes": b"no picture"}]
    rows = embed_all(encoder, items)
    assert rows.kept.tolist() == [True, False, True, False]
    assert rows.failure_to_acquire == {"unusable_input": 0.5}
    assert np.array_equal(rows.vectors, encoder.embed([items[0], items[2]], Limits()))
    assert rows.summaries is not None
    assert len(rows.summaries) == 2


def test_embedding_does_not_depend_on_how_many_are_prepared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = open_tiny(make_tiny(calibrated=False))
    items = [tiny_item(identity, 0) for identity in range(9)]
    whole = embed_all(encoder, items)
    monkeypatch.setattr("model_export.measure.CHUNK", 2)
    assert np.allclose(embed_all(encoder, items).vectors, whole.vectors, atol=1e-6)


def test_a_set_without_a_usable_item_is_told_with_the_reason() -> None:
    encoder = open_tiny(make_tiny(calibrated=False))
    with pytest.raises(CommandError, match=r"no item can be embedded: the .*empty"):
        embed_all(encoder, [{"bytes": b""}])
    with pytest.raises(CommandError, match="there are none"):
        embed_all(encoder, [])


class Uneasy(Encoder):
    """An encoder that moves the second window of the first item a little when it runs alone."""

    shift = 1e-3

    def embed_prepared(self, items: Sequence[Prepared], *, largest: Largest = 32, **_: Any) -> Vectors:
        rows = []
        for place, item in enumerate(items):
            windows = self.encode(item.windows)
            if largest == 1 and place == 0 and len(windows) > 1:
                windows[1] += self.shift * np.arange(windows.shape[1], dtype=np.float32)
            rows.append(pool(windows, True))
        return np.stack(rows)


def test_guard_band_sees_every_window_of_an_item(bundle: Bundle) -> None:
    uneasy = Uneasy(bundle, device="cpu", threads=1)
    short, long = [recording(2.0, 1), recording(2.0, 2)], [recording(9.0, 1), recording(9.0, 2)]
    assert len(uneasy.prepare(long[0], Limits()).windows) > 1
    assert guard_band([uneasy], short, "cosine", 1e-5) == 1e-5
    band = guard_band([uneasy], long, "cosine", 1e-5)
    together, alone = (
        uneasy.embed_prepared([uneasy.prepare(item, Limits()) for item in long], largest=size) for size in (32, 1)
    )
    difference = similarity(alone[0], alone[1], "cosine") - similarity(together[0], together[1], "cosine")
    assert band == pytest.approx(4 * abs(float(difference)), rel=1e-3)
    assert band > 1e-4


def test_guard_band_of_a_steady_encoder_is_its_floor(bundle: Bundle) -> None:
    encoders = [open_tiny(bundle), Encoder(bundle, device="cpu", threads=2)]
    items = [recording(seconds, seed) for seconds in (0.9, 1.8, 3.5, 9.0) for seed in range(3)]
    assert guard_band(encoders, items, "cosine", 1e-5) == pytest.approx(1e-5, abs=5e-6)


class OnTwoProviders(Encoder):
    """An encoder that on CUDA rounds otherwise, as another provider does. No machine of the tests need have one."""

    def __init__(self, bundle: Bundle, *, device: Device, threads: int) -> None:
        super().__init__(bundle, device="cpu", threads=threads)
        self.device = device

    def embed_prepared(self, items: Sequence[Prepared], *, largest: Largest = 32, **others: Any) -> Vectors:
        rows = super().embed_prepared(items, largest=largest, **others)
        rows[0] += 1e-3 * (self.device == "cuda") * np.arange(rows.shape[1], dtype=np.float32)
        return rows


def test_the_guard_band_spans_the_providers_at_hand_that_the_bundle_vouches_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [recording(2.0, seed) for seed in range(3)]
    golden = replace(bundle.golden, tolerance={CPU: 1e-5, CUDA: 1e-3})
    on_both = seal(bundle.manifest.draft(), graph=bundle.graph, golden=golden, assets=bundle.assets)
    alone = encoders_at_hand(open_tiny(on_both))
    assert {one.provider for one in alone} >= {CPU}
    monkeypatch.setattr("model_export.measure.Encoder", OnTwoProviders)
    for one, wide in ((on_both, True), (bundle, False)):
        band = guard_band(encoders_at_hand(open_tiny(one)), items, "cosine", 1e-5)
        assert (band > 1e-4) == wide


def test_the_sample_for_the_guard_band_has_items_of_every_bucket() -> None:
    # one item in a hundred is long, with windows of another bucket
    buckets = [frozenset({64, 128}) if at % 100 == 0 else frozenset({64}) for at in range(2000)]
    rows = Embeddings(np.ones(2000, bool), np.zeros((2000, 2), np.float32), None, buckets, {})
    sample = sample_for_band(rows, 50, 1)
    assert np.array_equal(sample, sample_for_band(rows, 50, 1))
    assert len(sample) == len(set(sample.tolist())) <= 50 + PER_BUCKET
    assert sum(128 in buckets[at] for at in sample) >= PER_BUCKET
    assert len(sample_for_band(rows, 3000, 1)) == 2000
