"""Texts are embedded as the service embeds them, with their padding cut where the service cuts it, and no faster way is
another answer."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("pyarrow", reason="embed-files needs the extra `parquet`")

from app.core.bundle import CUDA, Bundle, write_bundle
from app.core.modalities.base import Limits, Prepared
from app.core.scoring import GUARD_BAND_FLOORS
from app.embedding_files import embedding
from app.embedding_files.embedding import TOGETHER, Embedder, Recipe
from app.embedding_files.sources import Row
from app.runtime.encoder import Encoder
from app.runtime.engine import Encoded
from tests.core.modalities.texts import encoder, mean_graph, wordpiece, words
from tests.embedding_files.pictures import rows, run, summary
from tests.runtime.padded import served, shapes_run

GOLDEN = tuple({"text": words(count)} for count in (1, 3, 5, 12, 30))
LENGTHS = tuple(1 + 7 * place % 30 for place in range(960))
"""Words of a text, two tokens fewer than it has: each number 32 times, in no order."""
TEXTS = tuple(words(count) for count in LENGTHS)
MOST_PADDING = 1.1
UNKNOWN_TO_THE_GRAPH = "how مرحبا"
MINDS = {"masked": False}
pytestmark = pytest.mark.timeout(300)


def bundle(**graph: Any) -> Bundle:
    return encoder(wordpiece(), GOLDEN, mean_graph(**graph)).bundle


def embedded(bundle: Bundle, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """What /embed gives: each text in a batch of the service's own engine."""
    model = served(bundle)
    outcomes = [outcome for text in texts for outcome in model.engine.run([{"text": text}])]
    return np.stack([outcome.vector for outcome in outcomes if isinstance(outcome, Encoded)])


def embedder(bundle: Bundle) -> Embedder:
    return Embedder(Recipe(bundle, Limits(), "cpu", threads=1))


def listed(texts: Sequence[str]) -> list[Row]:
    return [Row(str(place), text) for place, text in enumerate(texts)]


@pytest.mark.parametrize("graph", [{}, MINDS])
def test_embeddings_are_those_of_the_service_whether_or_not_padding_is_cut(
    tmp_path: Path, graph: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    made = bundle(**graph)
    write_bundle(tmp_path / "models", made, {"MODEL_CARD.md": b"# words\n"})
    table = tmp_path / "texts.jsonl"
    table.write_text("".join(json.dumps({"id": str(place), "text": text}) + "\n" for place, text in enumerate(TEXTS)))
    assert run(tmp_path / "models", table, tmp_path / "out", "--shard", "700") == 0
    assert ("inputs are padded to the bundle's lengths" in capfd.readouterr().err) == (graph == MINDS)
    found = rows(tmp_path / "out")
    assert list(found) == [str(place) for place in range(len(TEXTS))]
    assert summary(tmp_path / "out")["failed"] == 0
    vectors = np.array([row["embedding"] for row in found.values()], dtype=np.float32)
    moved = np.linalg.norm(vectors - embedded(made, TEXTS), axis=1)
    assert moved.max() <= GUARD_BAND_FLOORS["fp32"] / 2  # a score of two moves by both


def test_padding_is_cut_and_the_texts_of_a_shard_are_sorted_out_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = embedder(bundle())
    shapes = shapes_run(made._encoder, monkeypatch)
    made.embed(listed(TEXTS))
    tokens = sum(LENGTHS) + 2 * len(LENGTHS)
    assert tokens <= sum(windows * steps for windows, steps in shapes) < MOST_PADDING * tokens


@pytest.mark.parametrize("graph", [MINDS, {"block": 8}])
def test_a_graph_that_minds_keeps_to_its_lengths_and_the_log_says_why(
    graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = embedder(bundle(**graph))
    [record] = caplog.records
    assert "words@1.0.0: inputs are padded to the bundle's lengths" in record.getMessage()
    shapes = shapes_run(made._encoder, monkeypatch)
    made.embed(listed(TEXTS[:128]))
    assert {steps for _, steps in shapes} == {8, 16, 32}


def test_a_gpu_keeps_to_the_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bundle()
    made.golden.tolerance[CUDA] = 1e-6  # type: ignore[index]
    monkeypatch.setattr(Encoder, "provider", CUDA)
    kept = embedder(made)
    shapes = shapes_run(kept._encoder, monkeypatch)
    kept.embed(listed(TEXTS[:32]))
    assert {steps for _, steps in shapes} == {8, 16, 32}


def batches(made: Embedder, texts: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were embedded together each time."""
    sizes: list[int] = []
    embed_prepared = made._encoder.embed_prepared

    def seen(items: Sequence[Prepared], **how: Any) -> Any:
        sizes.append(len(items))
        return embed_prepared(items, **how)

    monkeypatch.setattr(made._encoder, "embed_prepared", seen)
    made.embed(listed(texts))
    return sizes


def test_no_more_texts_are_held_prepared_than_the_bytes_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    made = embedder(bundle())
    texts = [words(30)] * 100  # 32 tokens, each in two arrays of int64: 512 bytes
    assert batches(made, texts, monkeypatch) == [100]
    monkeypatch.undo()
    monkeypatch.setattr(embedding, "TOGETHER_BYTES", 30 * 512)
    assert batches(made, texts, monkeypatch) == [30, 30, 30, 10]
    monkeypatch.undo()
    assert batches(embedder(bundle(**MINDS)), texts, monkeypatch) == [TOGETHER, 100 - TOGETHER]


@pytest.mark.parametrize("graph", [{}, MINDS])
def test_a_text_whose_run_fails_has_its_error_and_its_neighbours_go_on(graph: dict[str, Any]) -> None:
    made = bundle(tokens=90, **graph)  # the graph knows fewer tokens than the tokenizer
    texts = list(TEXTS[:100])
    for place in (0, 41, 42, 99):
        texts[place] = UNKNOWN_TO_THE_GRAPH
    texts[7] = " "
    found = embedder(made).embed(listed(texts))
    failed = {place: error.partition(":")[0] for place, error in enumerate(found.errors) if error is not None}
    assert failed == dict.fromkeys((0, 41, 42, 99), "internal") | {7: "unusable_input"}
    good = [place for place in range(100) if place not in failed]
    direct = embedded(made, [texts[place] for place in good])
    np.testing.assert_allclose(found.vectors[good], direct, rtol=0, atol=1e-6)
    assert not found.vectors[list(failed)].any()


def test_one_bad_text_costs_its_neighbours_a_few_runs_not_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made = embedder(bundle(tokens=90))
    texts = list(TEXTS)
    texts[500] = UNKNOWN_TO_THE_GRAPH
    sizes = Counter(batches(made, texts, monkeypatch))
    assert sizes[len(texts)] == 1
    assert sum(sizes.values()) <= 1 + 2 * len(texts).bit_length()
