"""The form of one's own data and its kind of item are read off it; what cannot be told is asked for in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_export.errors import CommandError
from model_export.fitting.layouts import find_layout
from tests.model_export.own_files import texts, write_pictures, write_table

STROKE = {"values": [[0.0, 1.0], [1.0, 2.0]]}


def test_a_folder_per_identity_is_found_with_what_is_in_it(tmp_path: Path) -> None:
    pictures = find_layout(write_pictures(tmp_path / "pictures", ["one", "two"]))
    assert pictures.section == {
        "reader": "folder",
        "folder": str(tmp_path / "pictures"),
        "levels": ["identity"],
    }
    assert pictures.modality == "image"
    assert pictures.said == "6 pictures in 2 folders of identity"
    for kind, item in (("text", {"text": "so"}), ("series", STROKE)):
        (tmp_path / kind / "one").mkdir(parents=True)
        (tmp_path / kind / "one" / "a.json").write_text(json.dumps(item))
        assert find_layout(tmp_path / kind).modality == kind
    (tmp_path / "sounds" / "one").mkdir(parents=True)
    (tmp_path / "sounds" / "one" / "a.FLAC").write_bytes(b"x")
    assert find_layout(tmp_path / "sounds").modality == "audio"


def test_nested_folders_are_asked_for_but_those_that_name_parts(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "nested", ["train/one", "train/two", "test/three"])
    assert find_layout(folder).section["levels"] == ["split", "identity"]
    writers = write_pictures(tmp_path / "writers", ["ann/name", "bob/name"])
    with pytest.raises(CommandError, match="--levels unit identity"):
        find_layout(writers)
    assert find_layout(writers, levels=["unit", "identity"]).section["levels"] == ["unit", "identity"]
    with pytest.raises(CommandError, match="levels: identity is one of them"):
        find_layout(writers, levels=["unit", "group"]).data()


@pytest.mark.parametrize(
    ("rows", "columns", "reader", "modality"),
    [
        (texts(2), {}, "items", "text"),
        ([{"path": "a/b.wav", "identity": "x"}], {}, "items", "audio"),
        ([{"path": "b.JPG", "who": "x"}], {"identity": "who"}, "items", "image"),
        ([{"item": STROKE, "identity": "x"}], {}, "items", "series"),
        ([{"a": "is it red?", "b": "is it blue.", "label": 0}], {}, "pairs", "text"),
        ([{"a": "one.png", "b": "two.png", "label": 1}], {}, "pairs", "image"),
        ([{"q1": "so", "q2": "and so", "same": 1}], {"a": "q1", "b": "q2", "label": "same"}, "pairs", "text"),
    ],
)
def test_a_table_is_of_items_or_of_pairs(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], reader: str, modality: str
) -> None:
    layout = find_layout(write_table(tmp_path / "all.jsonl", rows), columns=columns)
    assert (layout.section["reader"], layout.modality) == (reader, modality)
    assert layout.section.get("columns", {}) == columns
    assert layout.data().reader == reader


def test_what_cannot_be_told_is_one_line_that_says_what_to_add(tmp_path: Path) -> None:
    table = write_table(tmp_path / "all.csv", [{"text": "so", "product": "x"}])
    write_pictures(tmp_path / "loose", ["."])
    write_pictures(tmp_path / "uneven", ["one", "two/three"])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "items.csv").write_text("text,identity\n")
    bytes_in_json = write_table(tmp_path / "bytes.jsonl", [{"item": {"base64": "AA=="}, "identity": "x"}])
    empty = write_table(tmp_path / "empty.csv", [{"text": "so", "identity": "x"}])
    empty.write_text("text,identity\n")
    for path, words in (
        (tmp_path / "nowhere", "no such file or folder"),
        (table, "columns are text, product; .*--columns identity=product"),
        (tmp_path / "loose", "lies in no folder: make a folder for each identity"),
        (tmp_path / "uneven", "items lie in 1 to 2 folders"),
        (tmp_path / "notes", "if items.csv is a table of them, give that"),
        (bytes_in_json, "say with --modality"),
        (empty, "has no row"),
    ):
        with pytest.raises(CommandError, match=words) as caught:
            find_layout(path)
        assert "\n" not in str(caught.value)
    assert find_layout(bytes_in_json, modality="image").modality == "image"
    with pytest.raises(CommandError, match="levels are of folders"):
        find_layout(table, levels=["identity"])
    with pytest.raises(CommandError, match="columns are of a table"):
        find_layout(tmp_path / "loose", columns={"identity": "x"})
