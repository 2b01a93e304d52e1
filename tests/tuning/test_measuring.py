"""A measuring process runs what a worker runs: the same shapes, and with padding cut or not for the same graphs."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.bundle import Bundle
from app.tuning.choice import Layout
from app.tuning.crew import Crew
from app.tuning.measuring import Round, _open, _step
from tests.core.modalities.texts import encoder, mean_graph, wordpiece, words
from tests.runtime.padded import shapes_run

ITEMS = tuple({"text": words(count)} for count in (1, 3, 5, 12, 30))


def bundle(**graph: Any) -> Bundle:
    return encoder(wordpiece(), ITEMS, mean_graph(**graph)).bundle


@pytest.mark.parametrize(
    ("graph", "steps"), [({}, [3, 5, 7, 14, 32]), ({"masked": False}, [8, 8, 8, 16, 32])], ids=["heeds", "minds"]
)
def test_texts_are_padded_as_the_service_pads_them(
    graph: dict[str, Any], steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, opened = _open([bundle(**graph)], 1)
    assert not opened.refused
    [(key, engine)] = engines.items()
    shapes = shapes_run(engine.encoder, monkeypatch)
    step = _step(engine, Round(key, 1, 1.0))
    for _ in ITEMS:
        step()
    assert shapes == [(1, length) for length in steps]
    shapes.clear()
    _step(engine, Round(key, 7, 1.0))()
    assert sum(windows for windows, _ in shapes) == 7  # the whole batch, in however many runs


def test_a_graph_that_minds_padding_is_not_told_by_every_process(capfd: pytest.CaptureFixture[str]) -> None:
    with Crew([bundle(masked=False)], Layout(2, 1)) as crew:
        assert not crew.opened().refused
    assert not capfd.readouterr().err
