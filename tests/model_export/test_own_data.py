"""One's own data: what each form means, how it is cut, and how each kind of mistake is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import Recipe, name_recipe
from tests.model_export.own_files import SHARED, own_recipe, speckled, texts, write_pictures, write_table

NO_HARD = {'hard = "another intent of the same domain"': ""}


def text_recipe(folder: Path, rows: list[dict[str, Any]], data: str = "", name: str = "items.csv") -> Recipe:
    """A recipe over a table of these rows, without hard impostors."""
    write_table(folder / name, rows)
    return own_recipe(folder / "r.toml", f'reader = "items"\ntable = "{name}"\n{SHARED}\n{data}', more=NO_HARD)


def said(splits: Splits) -> dict[str, set[str]]:
    """The texts of each part."""
    return {name: {item["text"] for item in items.items} for name, items in splits.parts().items()}


@pytest.mark.parametrize("name", ["i.csv", "i.csv.gz", "i.tsv", "i.tsv.gz", "i.jsonl", "i.jsonl.gz", "i.parquet"])
def test_every_kind_of_table_is_cut_alike(tmp_path: Path, name: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    parts = said(read_splits(text_recipe(tmp_path, texts(), name=name)))
    assert parts == said(read_splits(text_recipe(tmp_path, texts())))
    assert set(parts) == {"training", "validation", "held out"}
    assert sum(map(len, parts.values())) == 120


def test_no_identity_is_in_two_parts_and_the_plan_says_what_is_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = read_splits(text_recipe(tmp_path, texts(200), "one_pool = false"))
    identities = [set(items.identity.tolist()) for items in splits.parts().values()]
    assert sum(map(len, identities)) == len(set.union(*identities)) == 200
    printed = capsys.readouterr().out
    for name, items in splits.parts().items():
        count = len(np.unique(items.identity))
        assert re.search(rf"^{name} +{count} +{count} +{len(items)}", printed, re.MULTILINE)
    assert splits.test is not None
    units = len(np.unique(splits.test.unit))
    assert f"({units * (units - 1) // 2} pairs of units)" in printed


def test_few_units_are_one_pool_and_many_are_not(tmp_path: Path) -> None:
    assert read_splits(text_recipe(tmp_path, texts(60))).test is None
    many = read_splits(text_recipe(tmp_path, texts(200)))
    assert many.test is not None
    assert min(len(np.unique(part.unit)) for part in (many.calibration, many.test)) >= 25
    assert read_splits(text_recipe(tmp_path, texts(200), "one_pool = true")).test is None
    assert read_splits(text_recipe(tmp_path, texts(200), "shares = { test = 0 }")).test is None


def test_what_is_added_later_moves_nothing(tmp_path: Path) -> None:
    rows = texts(80)
    parts = said(read_splits(text_recipe(tmp_path, rows[:-30], "one_pool = false")))
    more = said(read_splits(text_recipe(tmp_path, rows[::-1], "one_pool = false")))
    for name in ("calibration", "test"):
        assert parts[name] < more[name]
    assert parts["training"] | parts["validation"] < more["training"] | more["validation"]


def test_another_seed_cuts_otherwise_and_the_same_recipe_alike(tmp_path: Path) -> None:
    first = text_recipe(tmp_path, texts())
    assert said(read_splits(first)) == said(read_splits(first))
    second = text_recipe(tmp_path, texts(), "seed = 1")
    assert said(read_splits(second)) != said(read_splits(first))
    assert name_recipe(second) != name_recipe(first)


def crossing(rows: list[dict[str, Any]], units: int) -> list[dict[str, Any]]:
    """Each of an identity's texts by another writer."""
    return [row | {"unit": f"writer {place % units}"} for place, row in enumerate(rows)]


def test_units_stay_whole_and_identities_that_cross_them_are_told(tmp_path: Path) -> None:
    nested = [row | {"unit": f"writer {place // 6}"} for place, row in enumerate(texts(80))]
    splits = read_splits(text_recipe(tmp_path, nested))
    units = [set(items.unit.tolist()) for items in splits.parts().values()]
    assert sum(map(len, units)) == len(set.union(*units)) == 40
    with pytest.raises(CommandError, match="hang together in one piece"):
        read_splits(text_recipe(tmp_path, crossing(texts(40), 20)))
    apart = read_splits(text_recipe(tmp_path, crossing(texts(40), 20), 'split_by = "unit"'))
    units = [set(items.unit.tolist()) for items in apart.parts().values()]
    assert sum(map(len, units)) == len(set.union(*units)) == 20


def test_groups_stay_whole_where_the_recipe_says_so(tmp_path: Path) -> None:
    rows = [row | {"group": f"kind {place // 9}"} for place, row in enumerate(texts(90))]
    for split_by, whole in (("group", True), ("identity", False)):
        splits = read_splits(text_recipe(tmp_path, rows, f'split_by = "{split_by}"'))
        groups = [set(items.group.tolist()) for items in splits.parts().values()]
        assert (sum(map(len, groups)) == len(set.union(*groups))) == whole


def official(rows: list[dict[str, Any]], *parts: str) -> list[dict[str, Any]]:
    """The identities dealt to these parts in turn."""
    return [row | {"split": parts[place // 3 % len(parts)]} for place, row in enumerate(rows)]


def test_parts_of_the_datas_own_hold(tmp_path: Path) -> None:
    rows = official(texts(40), "train", "train", "dev", "calibration", "Test")
    splits = read_splits(text_recipe(tmp_path, rows))
    names = {"training": "train", "validation": "dev", "calibration": "calibration", "test": "Test"}
    assert said(splits) == {name: {row["text"] for row in rows if row["split"] == own} for name, own in names.items()}
    pooled = read_splits(text_recipe(tmp_path, official(texts(40), "train", "test")))
    assert said(pooled)["held out"] == {row["text"] for row in texts(40) if row["identity"][-1] in "13579"}
    assert said(pooled)["validation"]


@pytest.mark.parametrize(
    ("rows", "data", "words"),
    [
        (official(texts(12), "train", "tst"), "", "row 4: 'tst' is no part"),
        (official(texts(12), "train", "val"), "", "training and test are needed"),
        (official(texts(12), "train", "test"), "shares = { test = 0.3 }", "data.shares.test: does not count"),
        ([row | {"split": ("train", "test")[place % 2]} for place, row in enumerate(texts(12))], "", "one identity in"),
        (texts(12), 'split_by = "group"', "names no group"),
        (texts(1), "", "of one identity, 'what 0'"),
        (texts(12, each=1), "", "has one item; matching takes two"),
        (texts(12), 'columns = { identity = "label" }', "there is no column label"),
        (texts(12), 'columns = { group = "kind" }', "there is no column kind"),
        ([{"identity": "x"}], "", "row 1: there is no column text and no column path"),
        ([*texts(12), {"text": "a", "identity": ""}], "", "row 37: identity is empty"),
        ([*texts(12), {"text": " ", "identity": "x"}], "", "row 37: text is empty"),
        (texts(4), "", "two at least are needed"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(
    tmp_path: Path, rows: list[dict[str, Any]], data: str, words: str
) -> None:
    with pytest.raises(CommandError) as caught:
        read_splits(text_recipe(tmp_path, rows, data))
    assert words in str(caught.value)
    assert "items.csv" in str(caught.value) or "data." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_or_missing_table_is_one_line(tmp_path: Path) -> None:
    recipe = text_recipe(tmp_path, texts(12))
    (tmp_path / "items.csv").write_text("text,identity\n")
    with pytest.raises(CommandError, match=r"items\.csv: holds no item"):
        read_splits(recipe)
    (tmp_path / "items.csv").unlink()
    with pytest.raises(CommandError, match=r"items\.csv: no such file"):
        read_splits(recipe)


def test_equal_items_of_one_identity_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = read_splits(text_recipe(tmp_path, [*texts(), *texts()[:7]]))
    assert sum(len(items) for items in splits.parts().values()) == 120
    assert "7 items are there already" in capsys.readouterr().out


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = text_recipe(tmp_path, texts(12))
    (tmp_path / "items.csv").rename(tmp_path / "items.parquet")
    recipe = own_recipe(tmp_path / "p.toml", f'reader = "items"\ntable = "items.parquet"\n{SHARED}', more=NO_HARD)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(CommandError, match=r"install twinserve\[parquet\]"):
        read_splits(recipe)


def folder_recipe(folder: Path, data: str = "", modality: str = "image") -> Recipe:
    """A recipe over the folder `all`, without hard impostors."""
    more = {'hard = "another character of the same alphabet"': ""}
    return own_recipe(
        folder / "r.toml", f'reader = "folder"\nfolder = "all"\n{SHARED}\n{data}', modality=modality, more=more
    )


def test_folders_are_identities_and_files_are_read_when_asked_for(tmp_path: Path) -> None:
    write_pictures(tmp_path / "all", [f"one {number}" for number in range(30)])
    (tmp_path / "all" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "all" / "one 3" / "notes.md").write_bytes(b"x")
    splits = read_splits(folder_recipe(tmp_path))
    assert sum(len(items) for items in splits.parts().values()) == 90
    for items in splits.parts().values():
        for name, item in zip(items.names, items.items, strict=True):
            assert item["bytes"] == (tmp_path / "all" / name).read_bytes()
    first = splits.training.names[0]
    (tmp_path / "all" / first).write_bytes(b"changed")
    assert splits.training.items[0]["bytes"] == b"changed"


def test_nested_folders_are_what_the_recipe_calls_them(tmp_path: Path) -> None:
    names = [f"{letter}/1 {number}" for letter in "abcdefghij" for number in range(3)]
    write_pictures(tmp_path / "all", names)
    splits = read_splits(folder_recipe(tmp_path, 'levels = ["group", "identity"]'))
    everything: list[LabelledItems] = list(splits.parts().values())
    assert len({identity for items in everything for identity in items.identity.tolist()}) == 30
    assert everything[0].group_names == tuple("abcdefghij")
    units = read_splits(folder_recipe(tmp_path, 'levels = ["unit", "identity"]'))
    assert sum(len(np.unique(items.unit)) for items in units.parts().values()) == 10
    with pytest.raises(CommandError, match=r"1 0.*lies in 2 folders.*data\.levels names 1"):
        read_splits(folder_recipe(tmp_path))


@pytest.mark.parametrize("levels", ['["group"]', '["identity", "identity"]', '["identity", "other"]'])
def test_levels_that_make_no_sense_are_refused(tmp_path: Path, levels: str) -> None:
    with pytest.raises(CommandError, match=r"toml: data(: |\.)levels"):
        folder_recipe(tmp_path, f"levels = {levels}")


def test_a_damaged_file_that_would_train_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "all", [f"one {number}" for number in range(30)])
    trains = read_splits(folder_recipe(tmp_path)).training.names[4]
    (tmp_path / "all" / trains).write_bytes((tmp_path / "all" / trains).read_bytes()[:60])
    with pytest.raises(CommandError, match=rf"{trains}: the picture is damaged"):
        read_splits(folder_recipe(tmp_path))


def test_text_files_and_series_are_folders_too(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / "all" / f"p{number}").mkdir(parents=True)
        for one in range(2):
            noise = np.random.default_rng([number, one]).normal(size=(1500, 1))
            content = json.dumps({"values": noise.tolist(), "rate": 500})
            (tmp_path / "all" / f"p{number}" / f"{one}.json").write_text(content)
    splits = read_splits(folder_recipe(tmp_path, modality="series"))
    assert set(splits.training.items[0]) == {"values", "rate"}
    for path in (tmp_path / "all").rglob("*.json"):
        path.with_suffix(".txt").write_text(f"{path} {hash(path)} {path.stem * 9}\n")
        path.unlink()
    recipe = own_recipe(tmp_path / "t.toml", f'reader = "folder"\nfolder = "all"\n{SHARED}', more=NO_HARD)
    assert str(tmp_path) in read_splits(recipe).training.items[0]["text"]


def test_paths_are_relative_to_the_recipe_and_need_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWINSERVE_DATA", raising=False)
    (tmp_path / "pics").mkdir()
    rows = []
    for number in range(90):
        speckled(number).save(tmp_path / "pics" / f"{number}.png")
        rows.append({"path": f"pics/{number}.png", "identity": number // 3})
    write_table(tmp_path / "items.jsonl", rows)
    (tmp_path / "recipes").mkdir()
    more = {'hard = "another character of the same alphabet"': ""}
    for table in ("../items.jsonl", str(tmp_path / "items.jsonl")):
        data = f'reader = "items"\ntable = "{table}"\n{SHARED}'
        splits = read_splits(own_recipe(tmp_path / "recipes" / "r.toml", data, modality="image", more=more))
        assert sum(len(items) for items in splits.parts().values()) == 90
    rows[5]["path"] = "pics/gone.png"
    write_table(tmp_path / "items.jsonl", rows)
    with pytest.raises(CommandError, match=r"row 6, pics/gone\.png: .*No such file"):
        read_splits(own_recipe(tmp_path / "recipes" / "r.toml", data, modality="image", more=more))
