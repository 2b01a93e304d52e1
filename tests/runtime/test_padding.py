"""Padding is cut only for a graph that was shown to give the same without it, and then nothing changes but the time."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from app.core.bundle import CUDA
from app.core.modalities.base import Limits, Ragged, Window
from app.runtime.encoder import Encoder
from app.runtime.engine import Encoded
from app.runtime.padding import BULK_S, bulk_trimming, measured_trimming, padding_matters
from app.runtime.runs import MOST_WINDOWS
from tests.core.modalities.texts import encoder, mean_graph, modality, wordpiece, words
from tests.runtime.padded import served, shapes_run
from tests.tiny import make_tiny

ITEMS = tuple({"text": words(count)} for count in (1, 3, 5, 12, 30))


def opened(**graph: Any) -> Encoder:
    return encoder(wordpiece(), ITEMS, mean_graph(**graph))


def reason(served: Encoder) -> str | None:
    assert isinstance(served.modality, Ragged)
    return padding_matters(served, served.modality)


def test_a_graph_that_heeds_its_mask_is_shown_to_do_so() -> None:
    assert reason(opened()) is None


def test_a_graph_that_pays_no_heed_to_its_mask_is_found_out() -> None:
    found = reason(opened(masked=False))
    assert found is not None
    assert found.startswith("padding moves embeddings by")


@pytest.mark.parametrize("block", [2, 4, 8])
def test_a_graph_that_takes_blocks_of_steps_only_is_found_out(block: int) -> None:
    found = reason(opened(block=block))
    assert found is not None
    assert found.startswith("the graph does not take every length")


def test_blocks_are_found_out_where_every_golden_item_happens_to_fill_some() -> None:
    items = tuple({"text": words(count)} for count in (2, 6, 14))  # 4, 8 and 16 tokens with the special ones
    assert reason(encoder(wordpiece(), items, mean_graph(block=4))) is not None


def test_golden_items_that_need_no_padding_show_nothing() -> None:
    assert reason(encoder(wordpiece(), ({"text": words(30)},))) == (
        "no golden item is padded, so that nothing shows what padding does"
    )


def test_a_graph_that_is_let_pads_nothing_beyond_the_longest_and_answers_the_same() -> None:
    model = served(opened().bundle)
    assert model.engine.trimming is not None
    assert model.batcher.cap == MOST_WINDOWS
    items = [{"text": words(1 + place % 30)} for place in range(MOST_WINDOWS)]
    outcomes = model.engine.run(items)
    assert all(isinstance(one, Encoded) for one in outcomes)
    rows = np.stack([one.vector for one in outcomes if isinstance(one, Encoded)])
    np.testing.assert_allclose(rows, model.encoder.embed(items, Limits()), rtol=0, atol=1e-6)


def test_runs_are_as_long_as_their_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    model = served(opened().bundle)
    shapes = shapes_run(model.encoder, monkeypatch)
    model.engine.run([{"text": words(3)}])
    model.engine.run([{"text": words(27)}, {"text": words(27)}])
    assert shapes == [(1, 5), (2, 29)]


@pytest.mark.parametrize("graph", [{"masked": False}, {"block": 8}])
def test_a_graph_that_is_not_let_keeps_to_its_lengths_and_says_why(
    graph: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        model = served(opened(**graph).bundle)
    assert model.engine.trimming is None
    [record] = caplog.records
    assert "words@1.0.0: inputs are padded to the bundle's lengths" in record.getMessage()
    shapes = shapes_run(model.encoder, monkeypatch)
    model.engine.run([{"text": words(3)}])
    assert shapes == [(1, 8)]


def test_a_gpu_keeps_to_the_shapes_that_were_warmed(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = opened().bundle
    bundle.golden.tolerance[CUDA] = 1e-6  # type: ignore[index]
    monkeypatch.setattr(Encoder, "provider", CUDA)
    assert served(bundle).engine.trimming is None


def test_a_modality_without_padding_has_none_to_cut(caplog: pytest.LogCaptureFixture) -> None:
    assert served(make_tiny()).engine.trimming is None
    assert not caplog.records


def test_what_a_run_costs_beside_its_steps_is_told_from_the_measured_batches() -> None:
    """A run takes 2 ms and 0.1 ms a token, so that it costs as much beside its tokens as twenty of them."""
    made = modality()
    taken: dict[Hashable, dict[int, float]] = {
        length: {size: 0.002 + 0.0001 * size * length for size in (1, 16)} for length in (8, 16, 32)
    }
    trimming = measured_trimming(made, taken, dict.fromkeys(taken, 16), 0.05)
    assert trimming.run_steps == pytest.approx(20)
    assert trimming.most_steps == pytest.approx(0.05 / (0.0001 + 0.002 / 16 / 16))
    assert trimming.full == {8: 8, 16: 16, 32: 32}


def test_a_model_too_slow_for_batches_runs_each_length_by_itself() -> None:
    made = modality()
    trimming = measured_trimming(
        made, {length: {1: 1.0} for length in (8, 16, 32)}, dict.fromkeys((8, 16, 32), 1), 0.05
    )
    windows = [window for text in (3, 9, 9) for window in made.prepare({"text": words(text)}, Limits()).windows]
    assert [run.places for run in trimming.cut(windows)] == [[2], [1], [0]]


def test_bulk_measures_the_shortest_length_alone_and_runs_no_more_steps_than_it_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = opened()
    asked: list[list[int]] = []

    def warm(*, limit_s: float, examples: Sequence[Window]) -> dict[Hashable, dict[int, float]]:
        """A run takes 2 ms and 0.1 ms a token."""
        assert limit_s == BULK_S
        asked.append([len(window["input_ids"]) for window in examples])
        return {8: {size: 0.002 + 0.0001 * size * 8 for size in (1, 32)}}

    monkeypatch.setattr(made, "warm", warm)
    trimming = bulk_trimming(made)
    assert trimming is not None
    assert asked == [[8]]
    assert trimming.run_steps == pytest.approx(20)
    assert trimming.most_steps == pytest.approx(32 * 8)
    assert trimming.full == {8: 8, 16: 16, 32: 32}


def test_bulk_measures_no_run_that_takes_long_of_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened()
    sizes: list[int] = []

    def slow(windows: Sequence[Window]) -> float:
        sizes.append(len(windows))
        return 0.1 * len(windows)

    monkeypatch.setattr(made, "_seconds", slow)
    trimming = bulk_trimming(made)
    assert trimming is not None
    assert max(sizes) == 8  # the first beyond half a second
    assert trimming.most_steps == pytest.approx(4 * 8)


@pytest.mark.parametrize("graph", [{"masked": False}, {"block": 8}])
def test_bulk_cuts_no_padding_that_matters(graph: dict[str, Any]) -> None:
    assert bulk_trimming(opened(**graph)) is None
