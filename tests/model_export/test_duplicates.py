"""Copies across parts: what is found however it was saved, what is not taken for a copy, and what is done about it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.drawings import draw_character
from model_export.duplicates import Copy, find_copies, settle_copies
from model_export.errors import CommandError
from model_export.likeness import print_text
from model_export.near_copies import near_pairs
from model_export.populations import read_splits
from model_export.probes.audio import utter
from model_export.probes.series import beat
from model_export.recipe import ModalityChoice, read_recipe
from model_export.recipe.own_data import FolderData
from tests.model_export.own_files import SHARED, encoded, own_recipe, speckled, write_pictures
from tests.model_export.tiny_sets import RECIPES

FOLDER = FolderData(reader="folder", folder=".", licence="")


def modality(name: str, **params: Any) -> ModalityChoice:
    """The modality of a recipe of the project."""
    recipe = {"image": "glyphs", "audio": "digits", "series": "heartbeat", "text": "questions"}[name]
    chosen = read_recipe(RECIPES / f"{recipe}.toml").modality
    return ModalityChoice(name=name, params=chosen.params | params)


PICTURES = modality("image", contrast="none")


def items(items: Sequence[Item], identity: Sequence[int], prefix: str = "i") -> LabelledItems:
    number = np.array(identity, np.int64)
    names = tuple(f"{prefix}{place}" for place in range(len(items)))
    return LabelledItems(list(items), number, number, np.zeros_like(number), number, ("",), names)


def across(ours: Sequence[Item], theirs: Sequence[Item], choice: ModalityChoice, *, near: bool = True) -> list[Copy]:
    """The copies between items that train and others that test; the first of theirs copies the first of ours, ..."""
    parts = {"training": items(ours, range(len(ours))), "test": items(theirs, range(len(theirs)))}
    return list(find_copies(parts, choice, near=near))


def picture(number: int) -> Image.Image:
    """Drawings and speckles, by turns."""
    return draw_character(number, 1, (90, 120)) if number % 2 else speckled(number, (120, 90))


SAVED: dict[str, Callable[[Image.Image], bytes]] = {
    "the same bytes": encoded,
    "another format": lambda one: encoded(one, "BMP"),
    "JPEG 90": lambda one: encoded(one, "JPEG", quality=90),
    "JPEG 50": lambda one: encoded(one, "JPEG", quality=50),
    "half the size": lambda one: encoded(one.resize((one.width // 2, one.height // 2))),
    "twice the size": lambda one: encoded(one.resize((one.width * 2, one.height * 2))),
    "in colour": lambda one: encoded(one.convert("RGB")),
    "fainter": lambda one: encoded(one.point(lambda value: value * 0.8 + 51)),
}


@pytest.mark.parametrize("how", SAVED)
def test_a_picture_is_known_however_it_was_saved(how: str) -> None:
    ours = [{"bytes": encoded(picture(number))} for number in range(8)]
    theirs = [{"bytes": SAVED[how](picture(number))} for number in range(8)]
    copies = across(ours, theirs, PICTURES)
    assert [(copy.place, copy.other_place) for copy in copies] == [(place, place) for place in range(8)]
    expected = {"the same bytes": "content", "another format": "prepared form", "in colour": "prepared form"}
    assert {copy.same for copy in copies} == {expected.get(how, "near")}
    assert bool(across(ours, theirs, PICTURES, near=False)) == (how in expected)


def test_drawings_of_one_character_by_other_hands_are_no_copies() -> None:
    ours, theirs = (
        [{"bytes": encoded(draw_character(number, hand, (60, 60)))} for number in range(30)] for hand in (1, 2)
    )
    assert across(ours, theirs, PICTURES) == []


def wav(samples: np.ndarray, rate: int = 8000, form: str = "WAV") -> bytes:
    soundfile = pytest.importorskip("soundfile")
    file = BytesIO()
    soundfile.write(file, samples, rate, format=form, **({"subtype": "PCM_16"} if form != "OGG" else {}))
    return file.getvalue()


@pytest.mark.parametrize(("gain", "form"), [(1.0, "WAV"), (0.4, "WAV"), (0.7, "FLAC")])
def test_a_sound_is_known_whether_loud_or_soft(gain: float, form: str) -> None:
    pytest.importorskip("soundfile")
    words = [utter(word, 0.4, 8000) for word in range(6)]
    copies = across(
        [{"bytes": wav(one)} for one in words],
        [{"bytes": wav(gain * one, form=form)} for one in words],
        modality("audio"),
    )
    assert [(copy.place, copy.other_place) for copy in copies] == [(place, place) for place in range(6)]


def test_a_series_is_known_by_another_gain_and_offset_and_others_are_not() -> None:
    ours: list[Item] = [{"values": beat(number, 2000, 1).tolist(), "rate": 500} for number in range(6)]
    theirs: list[Item] = [{"values": (beat(number, 2000, 1) * 2 + 1).tolist(), "rate": 500} for number in range(3, 9)]
    copies = across(ours, theirs, modality("series"))
    assert [(copy.place, copy.other_place) for copy in copies] == [(3, 0), (4, 1), (5, 2)]


def test_a_text_is_known_by_other_case_spaces_and_punctuation() -> None:
    ours = [{"text": "Where is my parcel?"}, {"text": "Can I pay by card"}, {"text": "Ärger mit dem Zug!"}]
    theirs = [{"text": "where  is my parcel"}, {"text": "can I pay, by card?"}, {"text": "ärger mit dem zug"}]
    copies = across(ours, theirs, modality("text"))
    assert [(copy.place, copy.other_place, copy.same) for copy in copies] == [
        (place, place, "prepared form") for place in range(3)
    ]
    long = "I sent money to a friend in France yesterday morning and it has still not arrived in her account"
    (near,) = across([{"text": long}], [{"text": long + " today"}], modality("text"))
    assert near.same == "near"
    assert near.likeness >= 0.9
    assert across([{"text": "where is my red card"}], [{"text": "where is my blue card"}], modality("text")) == []


def test_the_search_by_rare_grams_finds_what_comparing_all_would() -> None:
    rng = np.random.default_rng(0)
    words = ["card", "money", "my", "is", "where", "when", "the", "a", "lost", "new", "to", "bank"]
    prints = [print_text({"text": " ".join(rng.choice(words, 12))}) for _ in range(150)]
    for alike in (0.5, 0.9):
        found = {(a, b): likeness for a, b, likeness in near_pairs(prints[:75], prints[75:], alike)}
        every = {
            (a, b): len(one.grams & two.grams) / len(one.grams | two.grams)
            for a, one in enumerate(prints[:75])
            for b, two in enumerate(prints[75:])
        }
        assert found == {pair: likeness for pair, likeness in every.items() if likeness >= alike}


def splits(**changes: LabelledItems) -> Splits:
    """Parts of three pictures each, none alike, with `changes`."""
    parts = {
        name: items([{"bytes": encoded(speckled(10 * at + one))} for one in range(3)], [at, at, at + 10], f"{name} ")
        for at, name in enumerate(("training", "validation", "calibration", "test"))
    }
    return Splits(**parts | changes, test_population="")  # type: ignore[arg-type]


def with_copy(identity: int) -> Splits:
    """Training item 1, of identity 0, is test item 2 of this identity."""
    tested = [{"bytes": encoded(speckled(number))} for number in (30, 31, 1)]
    return splits(test=items(tested, [3, 3, identity], "test "))


def test_parts_without_copies_are_left_as_they_are(tmp_path: Path) -> None:
    own = splits()
    assert settle_copies(own, PICTURES, FOLDER, tmp_path) is own
    assert list(tmp_path.iterdir()) == []


def test_copies_stop_the_run_with_their_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError, match=r"1 pairs of items are copies.*duplicates\.csv") as caught:
        settle_copies(with_copy(0), PICTURES, FOLDER, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert "training: training 1 = test: test 2 (same content)" in capsys.readouterr().out
    with (tmp_path / "run" / "duplicates.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["item"], row["other_item"], row["identities"]) == ("training 1", "test 2", "one")


@pytest.mark.parametrize(("identity", "tested"), [(0, 3), (7, 2)])
def test_dropped_copies_leave_what_trains_and_both_where_identities_differ(identity: int, tested: int) -> None:
    settled = settle_copies(with_copy(identity), PICTURES, FOLDER.model_copy(update={"duplicates": "drop"}), None)
    assert settled.test is not None
    assert settled.training.names == ("training 0", "training 2")
    assert len(settled.test) == tested
    assert [len(part) for part in (settled.validation, settled.calibration)] == [3, 3]
    (line,) = settled.dropped
    assert line.startswith("training: training 1 = test: test 2 (same content")
    assert ("of two identities" in line) == (identity == 7)


def test_one_item_under_two_identities_is_found_inside_a_part() -> None:
    doubled = items([{"bytes": encoded(speckled(number))} for number in (1, 2, 1)], [0, 0, 5])
    (copy,) = find_copies({"training": doubled}, PICTURES, near=True)
    assert (copy.place, copy.other_place, copy.one_identity) == (0, 2, False)
    same = items([{"bytes": encoded(speckled(number))} for number in (1, 2, 1)], [0, 0, 0])
    assert list(find_copies({"training": same}, PICTURES, near=True)) == []


def test_a_long_list_is_cut_on_the_screen_and_whole_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = items([{"bytes": encoded(speckled(number))} for number in range(100, 114)], range(14))
    with pytest.raises(CommandError, match="14 pairs"):
        settle_copies(splits(training=ours, test=ours), PICTURES, FOLDER, tmp_path)
    assert capsys.readouterr().out.splitlines()[10:] == ["and 4 more"]
    assert len((tmp_path / "duplicates.csv").read_text().splitlines()) == 15


def test_a_refused_item_stops_only_where_it_would_train() -> None:
    blank = {"bytes": encoded(Image.new("L", (20, 20), 255))}
    tested = items([{"bytes": encoded(speckled(50))}, blank], [3, 3], "test ")
    assert len(settle_copies(splits(test=tested), PICTURES, FOLDER, None).test or ()) == 2
    with pytest.raises(CommandError, match="training 1: the picture is blank"):
        settle_copies(splits(training=items(tested.items, [0, 0], "training ")), PICTURES, FOLDER, None)


def test_a_recipe_over_copied_files_is_stopped_before_it_trains(tmp_path: Path) -> None:
    write_pictures(tmp_path / "all", [f"one {number}" for number in range(40)])
    data = f'reader = "folder"\nfolder = "all"\n{SHARED}'
    more = {'hard = "another character of the same alphabet"': ""}
    own = read_splits(own_recipe(tmp_path / "r.toml", data, modality="image", more=more))
    trained, measured = own.training.names[0], own.calibration.names[0]
    with Image.open(tmp_path / "all" / trained) as one:
        one.save((tmp_path / "all" / measured).with_suffix(".jpg"), quality=80)
    recipe = own_recipe(tmp_path / "r.toml", data, modality="image", more=more)
    with pytest.raises(CommandError, match=r"0 exact, 1 near"):
        read_splits(recipe, tmp_path / "run")
    dropping = own_recipe(tmp_path / "r.toml", f'{data}\nduplicates = "drop"', modality="image", more=more)
    settled = read_splits(dropping, tmp_path / "run")
    assert trained not in settled.training.names
    assert measured in settled.calibration.names
    assert len(settled.dropped) == 1
    exact = own_recipe(tmp_path / "r.toml", f"{data}\nnear_duplicates = false", modality="image", more=more)
    assert read_splits(exact).dropped == ()
