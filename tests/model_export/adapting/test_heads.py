"""Heads: what whitening evens out, that few items are enough for it, and that a joined graph does what a head does."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from app.core.bundle import EXTERNAL_FILE, Bundle, read_bundle, seal
from app.core.modalities.base import Limits
from app.core.scoring import Float32, Metric
from app.runtime.encoder import Encoder
from model_export.adapting.frozen import embed_frozen
from model_export.adapting.heads import Head, Hidden, no_head
from model_export.adapting.joining import join
from model_export.adapting.whitening import SHRINKAGES, whitenings
from model_export.datasets import LabelledItems
from model_export.subjects import newest
from tests.tiny import DIMENSION, make_tiny, tiny_item

ROOT = Path(__file__).parents[3]


def random_head(dimension: int, out: int, *, normalise: bool, hidden: bool) -> Head:
    """Numbers of no meaning."""
    rng = np.random.default_rng(2)

    def draw(*shape: int) -> Float32:
        return rng.normal(0, 1, shape).astype(np.float32)

    network = Hidden(draw(dimension, 9), draw(9), draw(9, out)) if hidden else None
    return Head("network" if hidden else "linear", "random", draw(dimension), draw(dimension, out), normalise, network)


def joined(bundle: Bundle, head: Head) -> Encoder:
    """The bundle with the head in its graph, sealed anew."""
    model, output = join(bundle, head)
    manifest = bundle.manifest
    draft = manifest.draft(
        graph=manifest.graph.model_copy(update={"output": output}),
        embedding=manifest.embedding.model_copy(update={"dimension": head.dimension}),
    )
    graph = model.SerializeToString()
    return Encoder(seal(draft, graph=graph, golden=bundle.golden, assets=bundle.assets), device="cpu", threads=1)


@pytest.mark.parametrize(
    ("metric", "hidden", "out"), list(itertools.product(("cosine", "euclidean"), (False, True), (5, DIMENSION)))
)
def test_the_joined_graph_gives_what_the_head_makes_of_served_embeddings(
    metric: Metric, hidden: bool, out: int
) -> None:
    bundle = make_tiny(metric=metric, calibrated=False)
    head = random_head(DIMENSION, out, normalise=metric == "cosine", hidden=hidden)
    items = [tiny_item(place, 0) for place in range(7)]
    served = Encoder(bundle, device="cpu", threads=1).embed(items, Limits())
    encoder = joined(bundle, head)
    got = encoder.embed(items, Limits())
    assert got.shape == (7, out)
    np.testing.assert_allclose(got, head.apply(served), rtol=1e-5, atol=1e-5)
    again = random_head(out, 3, normalise=head.normalise, hidden=hidden)  # a head behind a head
    twice = joined(encoder.bundle, again).embed(items, Limits())
    np.testing.assert_allclose(twice, again.apply(got), rtol=1e-4, atol=1e-4)


def test_weights_beside_the_graph_are_joined_too(tmp_path: Path) -> None:
    bundle = make_tiny(calibrated=False)
    model = onnx.load_from_string(bundle.graph)
    convert_model_to_external_data(model, location=EXTERNAL_FILE, size_threshold=0)
    onnx.save(model, tmp_path / "model.onnx")
    graph, weights = ((tmp_path / name).read_bytes() for name in ("model.onnx", EXTERNAL_FILE))
    outside = replace(bundle, graph=graph, external_data=weights)
    head = random_head(DIMENSION, 4, normalise=True, hidden=False)
    items = [tiny_item(place, 0) for place in range(3)]
    wanted = joined(bundle, head).embed(items, Limits())
    np.testing.assert_array_equal(joined(outside, head).embed(items, Limits()), wanted)


def test_windows_of_a_long_item_go_through_the_head_before_they_are_pooled() -> None:
    bundle = read_bundle(newest(ROOT / "models" / "questions"))
    encoder = Encoder(bundle, device="cpu", threads=1)
    texts = ["where is my card?", " ".join(f"why was payment {number} refused" for number in range(200))]
    number = np.arange(2)
    labelled = LabelledItems([{"text": one} for one in texts], number, number, number, number, ("",))
    frozen = embed_frozen(encoder, labelled)
    assert len(frozen.rows) > 2
    head = random_head(frozen.rows.shape[1], 12, normalise=True, hidden=True)
    got = joined(bundle, head).embed(labelled.items, Limits())
    np.testing.assert_allclose(got, frozen.embedded(head).rows.vectors, rtol=1e-5, atol=1e-5)


def test_no_head_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (6, 8)).astype(np.float32)
    np.testing.assert_array_equal(no_head(8, normalise=False).apply(rows), rows)


def test_a_direction_that_only_varies_within_identities_counts_less() -> None:
    rng = np.random.default_rng(1)
    identity = np.repeat(np.arange(20), 5)
    rows = rng.normal(0, 1, (20, 6))[identity] + rng.normal(0, 0.1, (100, 6))
    rows[:, 0] += rng.normal(0, 10, 100)
    heads = list(whitenings(rows.astype(np.float32), identity, normalise=False))
    assert len(heads) == 2 * len(SHRINKAGES)
    for head in heads:
        weight = np.abs(np.diagonal(head.matrix))
        assert weight[0] < weight[1:].min()
        before, after = rows - rows.mean(axis=0), head.apply(rows.astype(np.float32))
        assert (after**2).sum() == pytest.approx((before**2).sum(), rel=1e-3)


def test_fewer_items_than_directions_give_numbers_and_none_is_blown_up() -> None:
    rows = np.random.default_rng(1).normal(0, 1, (4, 32)).astype(np.float32)
    for head in whitenings(rows, np.array([0, 0, 1, 1]), normalise=True):
        assert np.isfinite(head.matrix).all()
        gains = np.linalg.svd(head.matrix, compute_uv=False)
        assert gains.max() / gains.min() <= np.sqrt(1 + 32 / min(SHRINKAGES)) * 1.01


def test_items_that_are_all_alike_give_no_whitening() -> None:
    assert list(whitenings(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]), normalise=True)) == []
