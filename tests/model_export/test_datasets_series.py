"""Readers of typing, walking, activities and the UCR archive, on small files of the same layout."""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core import modalities
from app.core.modalities.base import Limits
from model_export import recipe
from model_export.datasets import Splits, gait, har, keystrokes, ucr
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import data as recipe_data

MEASURED = [
    path for path in sorted(Path("recipes/measured").glob("*.toml")) if 'name = "series"' in path.read_text("utf-8")
]
LICENCE = {"folder": ".", "licence": "made up"}
KEYS = [f"k{number}" for number in range(14)]
LINKS = [f"k{number}.k{number + 1}" for number in range(13)]


def write_keystrokes(path: Path, people: int = 9, repetitions: int = 2, links: int = 13) -> None:
    columns = [
        *(f"Hold {key}" for key in KEYS),
        *(f"{kind} {link}" for kind in ("DD", "UD") for link in LINKS[:links]),
        *(f"{kind} {key}" for kind in ("Pressure", "Size") for key in KEYS),
        *("AvH", "AvP", "AvA"),
    ]
    lines = [",".join(["subject", "repetition", *columns])]
    for person in range(people):
        for repetition in range(repetitions):
            values = (100 + person + column for column in range(len(columns)))
            lines.append(",".join(map(str, [10 * person, repetition + 1, *values])))
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def keystrokes_data(**changes: Any) -> recipe_data.KeystrokesData:
    return recipe_data.KeystrokesData(reader="keystrokes", held_out=4, validation=2, **LICENCE | changes)


def test_a_typed_word_is_a_step_a_key_with_times_as_logarithms_and_gaps_after_the_last(tmp_path: Path) -> None:
    write_keystrokes(tmp_path / "keystroke.csv.gz")
    splits = keystrokes.read_splits(tmp_path, keystrokes_data())
    person = splits.calibration.identity[0] / 10
    values = splits.calibration.items[0]["values"]
    assert len(values) == 14
    first = (math.log(100 + person), math.log(114 + person), math.log(127 + person), 140 + person, 154 + person)
    assert values[0] == pytest.approx(first)
    assert values[13][1:3] == [None, None]
    assert None not in [*values[13][:1], *values[13][3:], *(number for step in values[:13] for number in step)]


def test_people_who_type_are_in_one_part_only_and_the_drawing_is_the_seeds(tmp_path: Path) -> None:
    write_keystrokes(tmp_path / "keystroke.csv.gz")
    parts = people_of(keystrokes.read_splits(tmp_path, keystrokes_data()))
    assert [len(part) for part in parts] == [3, 2, 4]
    assert len(set.union(*parts)) == 9
    assert people_of(keystrokes.read_splits(tmp_path, keystrokes_data())) == parts
    assert people_of(keystrokes.read_splits(tmp_path, keystrokes_data(seed=1))) != parts


def test_a_table_of_other_columns_and_too_few_people_are_refused(tmp_path: Path) -> None:
    write_keystrokes(tmp_path / "keystroke.csv.gz", links=12)
    with pytest.raises(ValueError, match="12 columns begin with 'DD', not 13"):
        keystrokes.read_splits(tmp_path, keystrokes_data())
    write_keystrokes(tmp_path / "keystroke.csv.gz", people=7)
    with pytest.raises(CommandError, match="7 people"):
        keystrokes.read_splits(tmp_path, keystrokes_data())


def write_gait(path: Path, people: int = 5) -> None:
    """A series for each person, way of carrying (2) and take (3 and 4): 3 or 4 steps, each of its own number."""
    labels = [(who, way, take) for who in range(people) for way in (1, 2) for take in (3, 4)]
    length = np.array([3 + number % 2 for number in range(len(labels))], np.int32)
    values = np.repeat(np.arange(len(labels)), length)[:, np.newaxis] + np.arange(7) / 10
    person, gesture, take = np.array(labels, np.uint8).T
    np.savez(path, values=values.astype(np.float32), length=length, person=person, gesture=gesture, take=take)


def test_air_pressure_is_dropped_and_series_are_cut_where_the_set_says(tmp_path: Path) -> None:
    write_gait(tmp_path / "steps5.npz")
    splits = gait.read_splits(tmp_path, recipe_data.GaitData(reader="gait", steps=5, held_out=2, **LICENCE))
    for items in (splits.training, splits.validation, splits.calibration):
        for item in items.items:
            rows = np.array(item["values"])
            number = round(rows[0, 0])
            assert item["rate"] == 50
            assert rows == pytest.approx(np.tile(number + np.arange(6) / 10, (3 + number % 2, 1)))
            assert number // 4 in items.unit


def test_walkers_who_are_measured_do_not_train_and_ways_of_carrying_are_told_apart(tmp_path: Path) -> None:
    write_gait(tmp_path / "steps2.npz")
    splits = gait.read_splits(tmp_path, recipe_data.GaitData(reader="gait", steps=2, held_out=2, **LICENCE))
    training, watching, held_out = people_of(splits)
    assert (len(training), len(held_out)) == (3, 2)
    assert watching == training
    assert not training & held_out
    assert set(splits.calibration.source.tolist()) == {1, 2}
    assert {number_of(item) % 2 for item in splits.training.items} == {0}  # take 3; the last take watches
    assert {number_of(item) % 2 for item in splits.validation.items} == {1}


def number_of(item: Any) -> int:
    return int(item["values"][0][0] + 0.5)


def write_har(path: Path, windows: int = 60) -> None:
    """Windows in rows of five of one activity; the first number of each is its place."""
    x = np.zeros((windows, 9, 4), np.float32)
    x[:, 0, 0] = np.arange(windows)
    x[:, 8, 3] = 7
    np.savez(path, x=x, y=(np.arange(windows) // 5 % 6 + 1).astype(np.uint8), channels=np.array(["x"] * 9))


def har_data(*held_out: str) -> recipe_data.HarData:
    return recipe_data.HarData.model_validate({"reader": "har", "held_out": held_out, **LICENCE})


def test_measured_activities_do_not_train_and_their_windows_do_not_overlap(tmp_path: Path) -> None:
    write_har(tmp_path / "windows.npz")
    splits = har.read_splits(tmp_path, har_data("sitting", "laying"))
    assert set(splits.calibration.identity.tolist()) == {3, 5}
    assert set(splits.training.identity.tolist()) == {0, 1, 2, 4}
    assert set(splits.validation.identity.tolist()) == {4}
    places = [number_of(item) for item in splits.calibration.items]
    assert places == [16, 18, 26, 28, 46, 48, 56, 58]
    assert splits.calibration.source.tolist() == [place // 5 for place in places]
    latest = max(number_of(item) for item in splits.training.items)
    assert latest < min(number_of(item) for item in splits.validation.items)
    assert np.array(splits.calibration.items[0]["values"]).shape == (4, 9)
    assert splits.calibration.items[0]["values"][3][8] == 7


def test_one_activity_alone_cannot_train(tmp_path: Path) -> None:
    write_har(tmp_path / "windows.npz")
    with pytest.raises(CommandError, match="two activities at least must train"):
        har.read_splits(tmp_path, har_data("walking", "upstairs", "downstairs", "sitting", "standing"))


def write_ucr(path: Path) -> None:
    """One: 4 classes, a channel; Two: 2 classes, the first with two channels of other lengths and a missing value."""
    with zipfile.ZipFile(path, "w") as archive:
        for part, value in (("TRAIN", 1), ("TEST", 2)):
            rows = "\n".join(f"{value},{value},{label}:class {label}" for label in range(4))
            archive.writestr(f"One/One_{part}.ts", f"# words\n@problemName One\n@data\n{rows}\n")
            archive.writestr(f"Two/Two_{part}.ts", f"@DATA\n{value},?,3:4,5,6:a\n7:8:b\n")


def ucr_data(*sets: str, held_out: float = 0.0) -> recipe_data.UcrData:
    return recipe_data.UcrData(reader="ucr", sets=sets, held_out=held_out, **LICENCE)


def test_published_series_become_rows_and_classes_of_two_sets_are_apart(tmp_path: Path) -> None:
    write_ucr(tmp_path / "ts_files.zip")
    splits = ucr.read_splits(tmp_path, ucr_data("Two", "One"))
    assert splits.training.items[0] == {"values": [[1.0, 4.0], [None, 5.0], [3.0, 6.0]]}
    assert splits.training.items[1] == {"values": [[7.0, 8.0]]}
    assert [item["values"][0] for item in splits.calibration.items[2:]] == [[2.0]] * 4
    assert splits.calibration.group.tolist() == [0, 0, 1, 1, 1, 1]
    assert splits.calibration.group_names == ("Two", "One")
    assert len(set(splits.calibration.identity.tolist())) == 6
    assert splits.calibration.identity.tolist() == splits.training.identity.tolist()


def test_a_share_of_the_classes_is_held_out_of_both_official_parts(tmp_path: Path) -> None:
    write_ucr(tmp_path / "ts_files.zip")
    splits = ucr.read_splits(tmp_path, ucr_data("One", held_out=0.5))
    training, _, held_out = people_of(splits)
    assert (len(training), len(held_out)) == (2, 2)
    assert not training & held_out
    assert {item["values"][0][0] for item in splits.calibration.items} == {1.0, 2.0}


def test_a_set_of_too_few_classes_or_without_data_is_refused(tmp_path: Path) -> None:
    write_ucr(tmp_path / "ts_files.zip")
    with pytest.raises(CommandError, match="Two has 2 classes"):
        ucr.read_splits(tmp_path, ucr_data("Two", held_out=0.5))
    with zipfile.ZipFile(tmp_path / "ts_files.zip", "w") as archive:
        archive.writestr("One/One_TRAIN.ts", "1,2:a")
    with pytest.raises(ValueError, match="no line @data"):
        ucr.read_splits(tmp_path, ucr_data("One"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_every_measured_recipe_is_readable_says_that_it_is_not_shipped_and_takes_its_data(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen = recipe.read_recipe(path)
    assert chosen.name == path.stem
    assert "not shipped" in path.read_text("utf-8").splitlines()[1]
    assert "not for distribution" in chosen.weights_licence
    assert chosen.sampler.classes % chosen.sampler.groups == 0
    assert not isinstance(chosen.data, recipe_data.ItemsData | recipe_data.PairsData)
    folder = tmp_path / chosen.data.folder
    folder.mkdir()
    write_like(folder, chosen.data)
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path))
    splits = read_splits(chosen)
    modality = modalities.create(chosen.modality.name, chosen.modality.params, {})
    for item in (splits.training.items[0], splits.calibration.items[-1]):
        (window,) = modality.prepare(item, Limits()).windows
        assert window["values"][window["mask"] > 0].std() > 0


def test_there_are_measured_recipes() -> None:
    assert {path.stem for path in MEASURED} >= {"keystrokes", "gait", "har", "ucr", "ucr-classes"}


def write_like(folder: Path, data: recipe_data.DataChoice) -> None:
    """The files of a reader with as many people, steps and channels as a measured recipe takes."""
    generator = np.random.default_rng(0)
    if isinstance(data, recipe_data.KeystrokesData):
        write_keystrokes(folder / "keystroke.csv.gz", people=26)
    elif isinstance(data, recipe_data.GaitData):
        values = generator.normal(size=(10 * 2 * 200, 7)).astype(np.float32)
        labels = {"person": np.repeat(np.arange(10), 2), "gesture": np.ones(20), "take": np.tile([3, 4], 10)}
        np.savez(folder / f"steps{data.steps}.npz", values=values, length=np.full(20, 200), **labels)  # type: ignore[arg-type]
    elif isinstance(data, recipe_data.HarData):
        np.savez(folder / "windows.npz", x=generator.normal(size=(60, 9, 128)), y=np.arange(60) // 5 % 6 + 1)
    else:
        assert isinstance(data, recipe_data.UcrData)
        channels = {"JapaneseVowels": 12, "BasicMotions": 6}
        with zipfile.ZipFile(folder / "ts_files.zip", "w") as archive:
            for name in data.sets:
                for part in ("TRAIN", "TEST"):
                    rows = [
                        ":".join(
                            [
                                *(
                                    ",".join(map(str, one))
                                    for one in generator.normal(size=(channels.get(name, 1), length))
                                ),
                                label,
                            ]
                        )
                        for label in "abcdefgh"
                        for length in [100 if name == "BasicMotions" else 20]
                    ]
                    archive.writestr(f"{name}/{name}_{part}.ts", "\n".join(["@data", *rows]))


def people_of(splits: Splits) -> tuple[set[int], set[int], set[int]]:
    """The units of training, validation and calibration."""
    training, watching, held_out = (
        set(part.unit.tolist()) for part in (splits.training, splits.validation, splits.calibration)
    )
    return training, watching, held_out
