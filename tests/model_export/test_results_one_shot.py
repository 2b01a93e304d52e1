"""`results one-shot`: trials within every measured alphabet, between every two drawers, beside the official runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_export.results.__main__ import main
from tests.model_export.tiny_omniglot import DRAWERS, write_tiny_omniglot, write_tiny_recipe

CHARACTERS = 5


def test_all_alphabets_and_all_pairs_of_drawers_are_tried_and_the_official_runs_stand_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path))
    write_tiny_omniglot(tmp_path / "omniglot", characters=CHARACTERS)
    recipe = write_tiny_recipe(tmp_path / "tiny.toml")
    assert main(["one-shot", "--floor", "pixels", "--recipe", str(recipe)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    name, groups, trials, rate, lowest, official, right = (cell.strip() for cell in lines[2].strip("|").split("|"))
    assert (name, groups) == ("floor pixels", "4")
    assert int(trials) == 4 * DRAWERS * (DRAWERS - 1) * CHARACTERS
    value, low, high = (float(part.strip("[],")) for part in rate.split())
    assert low <= value <= high
    assert value > 1.5 / CHARACTERS  # drawn by hands that hardly differ, far above chance
    assert float(lowest.split()[0]) <= value
    assert int(official) == 2 * CHARACTERS
    assert int(right.split()[0]) <= int(official)


def test_one_alphabet_has_no_interval_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path))
    monkeypatch.setattr("model_export.results.one_shot.measured_hits", lambda *_: {"one": None})
    write_tiny_omniglot(tmp_path / "omniglot", characters=2)
    recipe = write_tiny_recipe(tmp_path / "tiny.toml")
    assert main(["one-shot", "--floor", "pixels", "--recipe", str(recipe)]) == 1
    assert "need two groups" in capsys.readouterr().err
