"""An embedding depends on its item alone, and what the graph gives is checked before anyone sees it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper

from app.core.bundle import CPU, CUDA, Bundle, Embedding, Golden, Graph, seal
from app.core.errors import BundleRefused, Internal, UnusableInput
from app.core.modalities.base import Limits, Prepared, Window, stack
from app.runtime.encoder import LADDER, Encoder
from app.runtime.runs import Speed, speed
from tests.tiny import DIMENSION, make_tiny, open_tiny, serialise, tiny_draft, tiny_graph, tiny_item, tiny_pixels

LIMITS = Limits()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_tiny(make_tiny(calibrated=False))


def windows(count: int) -> list[Window]:
    return [{"pixels": tiny_pixels(identity, 0)[:, :, np.newaxis]} for identity in range(count)]


def with_graph(content: bytes, **changes: Any) -> Bundle:
    """The tiny bundle with another graph; golden vectors stay, unit length is not demanded of them."""
    return seal(tiny_draft(**changes), graph=content, golden=make_tiny(calibrated=False).golden)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 31, 32, 33, 75])
def test_a_batch_of_n_gives_what_n_batches_of_one_give(encoder: Encoder, count: int) -> None:
    together = encoder.encode(windows(count))
    assert together.shape == (count, DIMENSION)
    assert together.dtype == np.float32
    for row, window in zip(together, windows(count), strict=True):
        np.testing.assert_allclose(row, encoder.encode([window])[0], rtol=0, atol=1e-6)


def test_the_order_of_a_batch_does_not_matter(encoder: Encoder) -> None:
    order = np.random.default_rng(0).permutation(37)
    items = windows(37)
    permuted = encoder.encode([items[place] for place in order])
    np.testing.assert_allclose(permuted, encoder.encode(items)[order], rtol=0, atol=1e-6)


def test_only_batch_sizes_of_the_ladder_are_run(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = encoder._run

    def counting(batch: Sequence[Window], collate: Any) -> Any:
        ran.append(len(batch))
        return run(batch, collate)

    monkeypatch.setattr(encoder, "_run", counting)
    encoder.encode(windows(77))
    assert ran == [32, 32, 8, 4, 1]
    ran.clear()
    encoder.encode(windows(13), largest=4)
    assert ran == [4, 4, 4, 1]


class TwoShapes:
    """The image modality, with windows put in two buckets by their first pixel."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.batches: list[set[Hashable]] = []

    def bucket(self, window: Window) -> Hashable:
        return int(window["pixels"][0, 0, 0]) % 2

    def collate(self, batch: Sequence[Window]) -> Any:
        self.batches.append({self.bucket(window) for window in batch})
        return stack(batch)


def test_windows_of_different_buckets_never_share_a_batch_and_keep_their_order(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = encoder.encode(windows(20))
    modality = TwoShapes(encoder.modality)
    monkeypatch.setattr(encoder, "modality", modality)
    np.testing.assert_allclose(encoder.encode(windows(20)), expected, rtol=0, atol=1e-6)
    assert all(len(buckets) == 1 for buckets in modality.batches)
    assert set.union(*modality.batches) == {0, 1}


def test_windows_of_one_item_are_pooled_to_one_unit_row(encoder: Encoder) -> None:
    a, b, c = windows(3)
    rows = encoder.encode([a, b, c])
    pooled = encoder.embed_prepared([Prepared((a, b)), Prepared((c,))])
    mean = (rows[0] + rows[1]) / 2
    np.testing.assert_allclose(pooled[0], mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(pooled[1], rows[2], atol=1e-6)


def test_a_bad_item_is_refused_before_it_meets_others(encoder: Encoder) -> None:
    with pytest.raises(UnusableInput):
        encoder.prepare({"bytes": b"no picture"}, LIMITS)


def test_golden_vectors_are_reproduced(encoder: Encoder) -> None:
    encoder.replay_golden()


def golden_with(**changes: Any) -> Bundle:
    plain = make_tiny(calibrated=False)
    return dataclasses.replace(plain, golden=dataclasses.replace(plain.golden, **changes))


def test_golden_vectors_that_are_not_reproduced_refuse_the_bundle() -> None:
    served = make_tiny(calibrated=False).golden.served.copy()
    served[2, 5] += 2e-5  # the tolerance is 1e-5
    with pytest.raises(BundleRefused, match=f"not reproduced on {CPU}"):
        open_tiny(golden_with(served=served)).replay_golden()


def test_weights_other_than_those_of_the_golden_vectors_refuse_the_bundle() -> None:
    bundle = make_tiny(calibrated=False)
    other = bundle.golden.served[:, ::-1].copy()
    golden = Golden(bundle.golden.items, other, other, {CPU: 1e-5}, "self")
    with pytest.raises(BundleRefused, match="not reproduced"):
        open_tiny(seal(tiny_draft(), graph=bundle.graph, golden=golden)).replay_golden()


def test_a_provider_without_tolerance_refuses_the_bundle() -> None:
    with pytest.raises(BundleRefused, match=f"no tolerance for {CPU}"):
        open_tiny(golden_with(tolerance={"CUDAExecutionProvider": 1e-3})).replay_golden()


def test_golden_items_that_cannot_be_prepared_refuse_the_bundle() -> None:
    with pytest.raises(BundleRefused, match="cannot be embedded"):
        open_tiny(golden_with(items=({"bytes": b"no picture"},) * 4)).replay_golden()


def timed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch, seconds: Mapping[int, float]) -> Encoder:
    """The encoder, each of whose batches takes so many seconds, by its size."""
    monkeypatch.setattr(encoder, "_seconds", lambda windows: seconds[len(windows)])
    return encoder


def even(per_item: float) -> dict[int, float]:
    return {size: size * per_item for size in LADDER}


def test_a_batch_of_each_size_that_counts_is_really_run(encoder: Encoder) -> None:
    [seconds] = encoder.warm().values()
    assert sorted(seconds) == [1, 32]
    assert all(taken > 0 for taken in seconds.values())


def test_time_that_others_took_does_not_count_on_one_thread_of_a_cpu(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = encoder._run

    def interrupted(batch: Sequence[Window], collate: Any) -> Any:
        time.sleep(0.02)
        return run(batch, collate)

    monkeypatch.setattr(encoder, "_run", interrupted)
    assert encoder._seconds(windows(1)) < 0.02
    side_by_side = Encoder(encoder.bundle, device="cpu", threads=2)
    monkeypatch.setattr(side_by_side, "_run", interrupted)
    assert side_by_side._seconds(windows(1)) > 0.02


@pytest.mark.parametrize(
    ("seconds", "run", "largest"),
    [
        (even(0.001), [1, 32], 32),  # it surely fits
        (even(0.002), [1, 16, 32], 16),
        (even(0.002) | {16: 0.02, 32: 0.03}, [1, 16, 32], 32),  # a batch is quicker than its items one by one
        (even(0.002) | {8: 0.045, 16: 0.09}, [1, 8, 16], 8),  # or slower
        (even(0.06), [1], 1),
        (even(0.03), [1, 2], 1),
    ],
)
def test_on_cpu_sizes_that_surely_fit_are_not_run_and_the_largest_within_the_limit_is_found(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], run: list[int], largest: int
) -> None:
    [taken] = timed(encoder, monkeypatch, seconds).warm(limit_s=0.05).values()
    assert sorted(taken) == run
    assert speed(taken, 0.05) == Speed(largest, seconds[largest] / largest)


def test_elsewhere_every_size_within_the_limit_is_run(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(encoder), "provider", CUDA)
    [taken] = timed(encoder, monkeypatch, even(0.002)).warm(limit_s=0.05).values()
    assert sorted(taken) == [1, 2, 4, 8, 16, 32]


def test_warming_stops_at_the_first_size_that_takes_too_long(encoder: Encoder) -> None:
    assert [list(seconds) for seconds in encoder.warm(limit_s=0.0).values()] == [[1]]


def constant_graph(value: float) -> bytes:
    """A graph whose every row is `value`, whatever it is shown, but for rows of dark pictures, which are unit rows."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "flat"], ["rows"]),
        helper.make_node("ReduceMax", ["rows"], ["brightest"], axes=[1], keepdims=1),
        helper.make_node("Less", ["brightest", "limit"], ["dark"]),
        helper.make_node("Where", ["dark", "unit", "bad"], ["vectors"]),
    ]
    unit = np.full((1, DIMENSION), 1 / np.sqrt(DIMENSION), dtype=np.float32)
    constants: dict[str, npt.NDArray[Any]] = {
        "flat": np.array([-1, 64], dtype=np.int64),
        "limit": np.array(100.0, dtype=np.float32),
        "unit": unit,
        "bad": np.full((1, DIMENSION), value, dtype=np.float32),
    }
    return serialise(nodes, constants)


@pytest.mark.parametrize(
    ("value", "fault"), [(np.nan, "not finite"), (np.inf, "not finite"), (1.0, "unit length"), (0.0, "unit length")]
)
def test_rows_that_are_no_embeddings_never_leave_the_encoder(value: float, fault: str) -> None:
    encoder = open_tiny(with_graph(constant_graph(value)))
    dark: Window = {"pixels": np.zeros((8, 8, 1), dtype=np.uint8)}
    assert encoder.encode([dark]).shape == (1, DIMENSION)
    with pytest.raises(Internal, match=fault):
        encoder.encode([dark, *windows(2)])


def test_a_model_without_unit_rows_may_give_any_length() -> None:
    embedding = Embedding(dimension=DIMENSION, normalized=False, metric="euclidean")
    encoder = open_tiny(with_graph(constant_graph(3.0), embedding=embedding))
    assert np.linalg.norm(encoder.encode(windows(1))) == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"inputs": ("picture",)}, "the manifest says picture, the graph pixels"),
        ({"inputs": ("pixels", "more")}, "the manifest says pixels, more, the graph pixels"),
        ({"output": "embedding_of"}, "the graph has no output 'embedding_of'"),
    ],
)
def test_names_that_the_graph_does_not_have_refuse_the_bundle(changes: dict[str, Any], fault: str) -> None:
    graph = Graph.model_validate(
        {"inputs": ("pixels",), "output": "vectors", "precision": "fp32", "opset": 13} | changes
    )
    with pytest.raises(BundleRefused, match=fault):
        open_tiny(with_graph(tiny_graph(), graph=graph))


def test_a_graph_for_other_shapes_is_refused_when_it_is_warmed() -> None:
    params = dict(tiny_draft().modality.params) | {"mode": "RGB"}
    modality = tiny_draft().modality.model_copy(update={"params": params})
    with pytest.raises(BundleRefused, match="a batch of 1 fails"):
        open_tiny(with_graph(tiny_graph(), modality=modality)).warm()


def test_a_graph_of_another_dimension_is_refused_when_it_is_warmed() -> None:
    embedding = Embedding(dimension=DIMENSION + 1, normalized=True, metric="cosine")
    with pytest.raises(BundleRefused, match=r"instead of float32 \(1, 17\)"):
        open_tiny(with_graph(tiny_graph(), embedding=embedding)).warm()


def test_an_item_keeps_its_embedding_whatever_else_is_asked(encoder: Encoder) -> None:
    alone = encoder.embed([tiny_item(3, 1)], LIMITS)[0]
    beside = encoder.embed([tiny_item(identity, 1) for identity in range(9)], LIMITS)[3]
    np.testing.assert_allclose(alone, beside, rtol=0, atol=1e-6)
