"""What a training may begin with: found where it lies, tried on validation, and never what trained on the measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.fitting.chain import _train
from model_export.fitting.fit import _material
from model_export.fitting.layouts import find_layout
from model_export.fitting.recipes import Material, Wanted, lasting, write_recipe
from model_export.fitting.starts import Start, find_starts, small_start, start_from
from model_export.fitting.trying import choose_start
from model_export.recipe import read_recipe
from model_export.training import loop, train
from tests.model_export.fitting.own_sets import write_questions
from tests.model_export.own_files import write_table

WANTED = Wanted("mine", "1.0.0", "the same thing", "the same words")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "count_steps", lambda *_: 6)


def material(folder: Path, **more: object) -> tuple[Material, Start]:
    """The questions about products, cut, and the small network for them."""
    path = write_questions(folder / "questions.csv")
    found, listing = _material(find_layout(path, columns={"identity": "product"}), more)
    return found, small_start("text", listing.items)


def splits_of(rows: list[dict[str, str]], folder: Path) -> Splits:
    folder.mkdir()
    return _material(find_layout(write_table(folder / "items.csv", rows)), {})[0].splits


def test_the_recipe_that_is_written_is_read_back_with_what_it_begins_with(tmp_path: Path) -> None:
    found, small = material(tmp_path)
    recipe = write_recipe(tmp_path / "r.toml", WANTED, found, small, lasting(3.0))
    assert recipe.schedule.minutes == 3.0
    assert recipe.sampler.classes <= len(set(found.splits.training.identity.tolist()))
    assert "untrained" in (tmp_path / "r.toml").read_text("utf-8").splitlines()[1]


def test_an_earlier_run_is_gone_on_from_and_what_makes_it_worse_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, small = material(tmp_path)
    write_recipe(tmp_path / "r.toml", WANTED, found, small, lasting(1.0))
    train(tmp_path / "r.toml", tmp_path / "runs" / "first", splits=found.splits)
    (start,) = find_starts(
        "text", found.splits, models=tmp_path / "models", runs=tmp_path / "runs", but=tmp_path / "mine"
    )
    recipe = write_recipe(tmp_path / "s.toml", WANTED, found, start, lasting(1.0))
    earlier = read_recipe(tmp_path / "r.toml")
    assert recipe.encoder.from_ == str(tmp_path / "runs" / "first")
    assert recipe.modality == earlier.modality
    assert recipe.optimiser.learning_rate < earlier.optimiser.learning_rate
    train(tmp_path / "s.toml", tmp_path / "second", splits=found.splits)
    assert (tmp_path / "second" / "start.safetensors").is_file()
    first = tmp_path / "runs" / "first"  # is not begun with where it is to be written anew
    assert list(find_starts("text", found.splits, models=tmp_path, runs=tmp_path / "runs", but=first)) == []
    capsys.readouterr()
    wild = replace(start, optimiser={"name": "sgd", "learning_rate": 50.0}, schedule={"stop_on_collapse": False})
    write_recipe(tmp_path / "w.toml", WANTED, found, wild, lasting(1.0))
    _train(tmp_path / "w.toml", tmp_path / "wild", found.splits, fresh=False)
    assert "note: validation AUC is 0." in capsys.readouterr().out
    assert (
        list(find_starts("image", found.splits, models=tmp_path, runs=tmp_path / "runs", but=tmp_path / "mine")) == []
    )


def test_a_run_that_trained_on_what_is_measured_here_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, small = material(tmp_path)
    write_recipe(tmp_path / "r.toml", WANTED, found, small, lasting(1.0))
    train(tmp_path / "r.toml", tmp_path / "runs" / "first", splits=found.splits)
    texts = [item["text"] for item in found.splits.training.items]
    rows = [{"text": text, "identity": f"other {place // 3}"} for place, text in enumerate(texts)]
    other = splits_of(rows, tmp_path / "other")
    capsys.readouterr()
    assert list(find_starts("text", other, models=tmp_path, runs=tmp_path / "runs", but=tmp_path / "mine")) == []
    assert "it trained on what is measured here" in capsys.readouterr().out
    (tmp_path / "questions.csv").unlink()  # then nobody can tell
    assert list(find_starts("text", other, models=tmp_path, runs=tmp_path / "runs", but=tmp_path / "mine")) == []
    assert "no such file" in capsys.readouterr().out


def test_the_best_start_on_validation_is_taken_and_its_time_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, small = material(tmp_path)
    write_recipe(tmp_path / "r.toml", WANTED, found, small, lasting(1.0))
    train(tmp_path / "r.toml", tmp_path / "runs" / "first", splits=found.splits)
    learnt = start_from(tmp_path / "runs" / "first", "text")
    still = replace(small, said="hardly moves", optimiser={"name": "adamw", "learning_rate": 1e-9})
    broken = replace(small, said="is none", params={**small.params, "lengths": [7]})
    lengths: list[Mapping[str, Any]] = []

    def write(path: Path, start: Start, length: Mapping[str, Any]) -> None:
        lengths.append(length)
        write_recipe(path, WANTED, found, start, length)

    best, left = choose_start([still, broken, learnt], write, found.splits, minutes=10.0, folder=tmp_path / "tried")
    assert best is learnt
    assert left == lasting(9.0)
    assert lengths == [lasting(1.0), lasting(1.0), {"steps": 1}]
    printed = capsys.readouterr().out
    assert "after 1 minutes: " in printed
    assert "as it is: begins with the weights of the run" in printed
    assert "tried, and left: is none" in printed
    assert choose_start([still], write, found.splits, minutes=10.0, folder=tmp_path) == (still, lasting(10.0))


def test_what_is_no_start_says_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(CommandError, match="--bundle measures it as it is"):
        start_from(tmp_path / "bundle", "text")
    (tmp_path / "bundle" / "modules.json").write_text("[]")
    with pytest.raises(CommandError, match="an encoder of texts, and the data is of the modality image"):
        start_from(tmp_path / "bundle", "image")


def test_a_directory_of_sentence_transformers_lends_its_last_layers(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from tests.model_export.importing.tiny_sentences import write_sentence_encoder  # noqa: PLC0415

    folder = write_sentence_encoder(tmp_path / "made")
    found, _ = material(tmp_path)
    (start,) = find_starts(
        "text", found.splits, models=tmp_path / "made", runs=tmp_path / "runs", but=tmp_path / "mine"
    )
    recipe = write_recipe(tmp_path / "r.toml", WANTED, found, start, lasting(1.0))
    assert recipe.encoder.name == "sentence_transformers"
    assert recipe.encoder.from_ == str(folder)
    assert recipe.encoder.frozen_layers == 0  # it has two
    train(tmp_path / "r.toml", tmp_path / "run", splits=found.splits)
    assert (tmp_path / "run" / "directory" / "modules.json").is_file()
