"""Readers: no identity and no unit in two parts, each row read for what it is, and damage told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import read_recipe
from tests.model_export.tiny_sets import (
    RECIPES,
    write_tiny_digits,
    write_tiny_heartbeats,
    write_tiny_questions,
    write_tiny_recipe,
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def parts(splits: Splits) -> list[LabelledItems]:
    test = [] if splits.test is None else [splits.test]
    return [splits.training, splits.validation, splits.calibration, *test]


def assert_disjoint(splits: Splits, *names: str) -> None:
    for name in names:
        seen: set[int] = set()
        for part in parts(splits):
            own = set(getattr(part, name).tolist())
            assert own
            assert not own & seen
            seen |= own


def test_intents_are_cut_by_intent_in_every_domain(data: Path) -> None:
    write_tiny_questions(data)
    splits = read_splits(read_recipe(RECIPES / "questions.toml"))
    assert_disjoint(splits, "identity", "unit")
    for part in (splits.training, splits.calibration, splits.test):
        assert part is not None
        assert len(np.unique(part.group)) == 3
    texts = [item["text"] for part in parts(splits) for item in part.items]
    assert "nothing of the kind" not in texts
    group_of = {int(i): int(g) for part in parts(splits) for i, g in zip(part.identity, part.group, strict=True)}
    assert sorted(np.bincount(list(group_of.values())).tolist()) == [8, 8, 8]


def test_intents_are_cut_alike_each_time_and_another_seed_cuts_otherwise(data: Path, tmp_path: Path) -> None:
    write_tiny_questions(data)
    first = read_splits(read_recipe(RECIPES / "questions.toml"))
    again = read_splits(read_recipe(RECIPES / "questions.toml"))
    assert first.calibration.items == again.calibration.items
    other = (
        (RECIPES / "questions.toml").read_text("utf-8").replace('reader = "intents"', 'reader = "intents"\nseed = 5')
    )
    (tmp_path / "other.toml").write_text(other, "utf-8")
    assert read_splits(read_recipe(tmp_path / "other.toml")).calibration.items != first.calibration.items


def test_digits_hold_speakers_out_and_say_who_spoke(data: Path) -> None:
    write_tiny_digits(data / "fsdd")
    splits = read_splits(read_recipe(RECIPES / "digits.toml"))
    assert splits.test is None
    assert len(splits.training) == 3 * 2 * 4  # digits x speakers x takes from 5 on
    assert len(splits.validation) == 3 * 2 * 5
    assert len(splits.calibration) == 3 * 2 * 9
    own = {item["bytes"] for item in splits.training.items} | {item["bytes"] for item in splits.validation.items}
    assert not own & {item["bytes"] for item in splits.calibration.items}
    for digit, voice in zip(splits.calibration.identity, splits.calibration.unit, strict=True):
        assert digit in (0, 1, 2)
        assert voice in (2, 3)  # numbered after those who train


def test_heartbeats_are_cut_by_person_with_the_asked_number_of_several_days(data: Path, tmp_path: Path) -> None:
    write_tiny_heartbeats(data / "ecg_id")
    recipe = write_tiny_recipe("heartbeat", tmp_path / "r.toml", held_out="12", held_out_several_days="5")
    splits = read_splits(read_recipe(recipe))
    assert_disjoint(splits, "identity", "unit")
    held = splits.calibration
    assert len(np.unique(held.identity)) == 12
    days = {int(one): len(np.unique(held.source[held.identity == one])) for one in np.unique(held.identity)}
    assert sum(number > 1 for number in days.values()) == 5
    assert len(splits.training) == 2 * 3 * (24 - 12 - 2)  # raw and filtered, three records, of the people left
    assert len(held) == 12 * 3  # raw only
    assert np.shape(held.items[0]["values"]) == (3000, 1)
    assert held.items[0]["rate"] == 500


def test_too_few_people_are_told(data: Path) -> None:
    write_tiny_heartbeats(data / "ecg_id", people=6)
    with pytest.raises(CommandError, match="held_out"):
        read_splits(read_recipe(RECIPES / "heartbeat.toml"))


def test_an_absent_speaker_is_told(data: Path, tmp_path: Path) -> None:
    write_tiny_digits(data / "fsdd", takes=6)
    recipe = write_tiny_recipe("digits", tmp_path / "r.toml", held_out_speakers='["lucas", "nobody"]')
    with pytest.raises(CommandError, match="nobody"):
        read_splits(read_recipe(recipe))


def test_another_file_of_that_name_is_told_in_one_line(data: Path) -> None:
    (data / "ecg_id").mkdir(parents=True)
    np.savez(data / "ecg_id" / "ecg_id.npz", other=np.zeros(3))
    with pytest.raises(CommandError, match="ecg_id"):
        read_splits(read_recipe(RECIPES / "heartbeat.toml"))
