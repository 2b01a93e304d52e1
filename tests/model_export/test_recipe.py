"""Recipes: what would not count is refused, and a digest binds a bundle to the cut that trained it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.__main__ import main
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import Sampler, name_recipe, read_recipe
from model_export.sampling import endless_batches, seed_everything
from tests.model_export.tiny_sets import RECIPES, write_tiny_heartbeats, write_tiny_recipe


def changed(tmp_path: Path, name: str, old: str, new: str) -> Path:
    text = (RECIPES / f"{name}.toml").read_text("utf-8")
    assert old in text
    (tmp_path / f"{name}.toml").write_text(text.replace(old, new, 1), "utf-8")
    return tmp_path / f"{name}.toml"


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_read(path: Path) -> None:
    assert read_recipe(path).name


@pytest.mark.parametrize(
    "case",
    [
        ("digits", 'kind = "sequence"\nstretch = 0.3', 'kind = "text"\nhide_tokens = 0.1', "augmentation"),
        ("digits", "[encoder]", "[tokenizer]\nvocabulary = 300\n\n[encoder]", "tokenizer"),
        ("digits", 'name = "spectral"', 'name = "spectral"\nwidth = 3', "encoder.width"),
        ("questions", 'name = "bag"', 'name = "bag"\nevery = 2', "encoder.every"),
        ("questions", "temperature = 0.05", "temperature = 0.05\nmargin = 0.3", "loss.margin"),
        (
            "digits",
            'name = "supervised_contrastive"\ntemperature = 0.1',
            'name = "arcface"\n\n[miner]\nname = "batch_hard"',
            "miner.name",
        ),
        (
            "digits",
            'name = "supervised_contrastive"\ntemperature = 0.1',
            'name = "triplet"\n\n[miner]\nname = "single_pairs"',
            "each item has one",
        ),
        ("questions", "shares = [0.25, 0.2, 0.07]", "shares = [0.5, 0.6, 0.07]", "shares"),
        ("questions", "shares = [0.25, 0.2, 0.07]", "shares = [0.5, -0.2, 0.07]", "shares"),
        ("questions", "lexical_dimension = 384", "lexical_dimension = 640", "lexical_dimension"),
        ("questions", "groups = 2", "groups = 3", "groups must divide classes"),
        ("digits", '["lucas", "nicolas"]', '["lucas", "george"]', "held out"),
        ("heartbeat", "gain = 0.3", "warp = 0.3", "augmentation.warp"),
        ("heartbeat", "gain = 0.3", "hide_bands = 0.3", "hide_bands"),
        ("heartbeat", "level = 75", "level = 74", "odd"),
    ],
)
def test_an_option_that_would_not_count_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, str, str, str]
) -> None:
    name, old, new, said = case
    path = changed(tmp_path, name, old, new)
    if "hide_tokens" in new:  # the section's other fields go with its kind
        text = path.read_text("utf-8")
        for line in ("warp = 0.2", "gain = 0.5", "noise = 1.0", "hide_steps = 0.2", "hide_bands = 0.2"):
            text = text.replace(line + "\n", "", 1)
        path.write_text(text, "utf-8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "function-" not in error


def items(identities: int, groups: int) -> LabelledItems:
    identity = np.repeat(np.arange(identities), 4)
    group = identity % groups
    return LabelledItems([{}] * len(identity), identity, identity, group, identity, tuple(map(str, range(groups))))


def test_batches_that_the_items_cannot_fill_are_refused_and_never_waited_for() -> None:
    generator = seed_everything(0)
    with pytest.raises(CommandError, match=r"sampler\.groups"):
        next(endless_batches(items(8, 1), Sampler(classes=4, per_class=2, grouped_share=1.0), generator))
    with pytest.raises(CommandError, match=r"sampler\.classes"):
        next(endless_batches(items(3, 1), Sampler(classes=4, per_class=2, grouped_share=0.0), generator))


def test_the_name_of_a_recipe_changes_with_the_cut_and_not_with_the_schedule(tmp_path: Path) -> None:
    own = name_recipe(read_recipe(RECIPES / "heartbeat.toml"))
    assert own.startswith("heartbeat.toml#")
    longer = changed(tmp_path, "heartbeat", "steps = 600\nwarmup", "steps = 900\nwarmup")
    assert name_recipe(read_recipe(longer)) == own
    other = changed(tmp_path, "heartbeat", 'folder = "ecg_id"', 'folder = "ecg_id"\nseed = 5')
    assert name_recipe(read_recipe(other)) != own


def test_people_who_trained_a_bundle_are_never_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same recipe with another cut would measure people whom the shipped weights know."""
    write_tiny_heartbeats(tmp_path / "data" / "ecg_id")
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    recipe = write_tiny_recipe("heartbeat", tmp_path / "r.toml", held_out="12", held_out_several_days="5")
    assert main(["calibrate", "models/heartbeat/1.0.3", "--recipe", str(recipe), "--out", str(tmp_path)]) == 1
    assert "cuts or prepares the data otherwise" in capsys.readouterr().err
    assert not (tmp_path / "heartbeat").exists()


def test_a_reader_that_puts_a_unit_in_two_parts_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_heartbeats(tmp_path / "data" / "ecg_id")
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    recipe = read_recipe(write_tiny_recipe("heartbeat", tmp_path / "r.toml", held_out="12", held_out_several_days="5"))
    good = read_splits(recipe)

    def leaking(*_: object) -> object:
        return good.__class__(good.training, good.validation, good.training, None, "the training people")

    monkeypatch.setattr("model_export.datasets.ecg_id.read_splits", leaking)
    with pytest.raises(CommandError, match="two parts"):
        read_splits(recipe)


@pytest.mark.parametrize("option", [["--unit", " "], ["--population", ""], ["--valid-for-days", "0"]])
def test_words_that_say_nothing_are_wrong_usage(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["calibrate", "models/questions/1.0.2", "--pairs", "pairs.csv", *option])
    assert stopped.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_a_run_without_a_whole_checkpoint_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text((RECIPES / "heartbeat.toml").read_text("utf-8"), "utf-8")
    for content in (None, b"cut"):
        if content is not None:
            (tmp_path / "checkpoint.safetensors").write_bytes(content)
        assert main(["export", str(tmp_path), "--out", str(tmp_path / "models")]) == 1
        error = capsys.readouterr().err
        assert "checkpoint" in error
        assert error.count("\n") == 1
