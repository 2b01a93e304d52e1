"""Pair tables: what counts as a pair, whose it is, and how each kind of mistake is told."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from model_export.errors import CommandError
from model_export.measure import Embeddings
from model_export.pairs import PairTable, describe_impostors, read_pairs, score_pairs

CSV = "a,b,label\none,uno,1\nuno,eins,1\ntwo,zwei,1\none,two,0\nzwei,drei,0\n"


def write(folder: Path, text: str, name: str = "pairs.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def read(folder: Path, text: str, name: str = "pairs.csv", form: str = "text") -> PairTable:
    return read_pairs(write(folder, text, name), form)


def texts(table: PairTable) -> list[tuple[str, str, bool]]:
    return [
        (table.items[a]["text"], table.items[b]["text"], label)
        for a, b, label in zip(table.a.tolist(), table.b.tolist(), table.label.tolist(), strict=True)
    ]


def embeddings(table: PairTable, refused: tuple[int, ...] = ()) -> Embeddings:
    """Random unit vectors, with some items refused."""
    kept = ~np.isin(np.arange(len(table.items)), refused)
    vectors = np.random.default_rng(1).normal(size=(len(kept), 4)).astype(np.float32)
    return Embeddings(kept, vectors[kept], None, None, {"unusable_input": len(refused) / len(kept)} if refused else {})


def test_units_are_the_components_of_matching_pairs(tmp_path: Path) -> None:
    table = read(tmp_path, CSV)
    unit = {table.items[at]["text"]: int(table.unit_of_item[at]) for at in range(len(table.items))}
    assert unit["one"] == unit["uno"] == unit["eins"]
    assert unit["two"] == unit["zwei"]
    assert len({unit["one"], unit["two"], unit["drei"]}) == 3
    assert table.types == ("labelled",)
    assert table.unit_word == "group of matching items"
    assert table.row.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "name", ["pairs.csv", "pairs.csv.gz", "pairs.tsv", "pairs.tsv.gz", "pairs.jsonl", "p.jsonl.gz"]
)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    text = CSV
    if ".tsv" in name:
        text = CSV.replace(",", "\t")
    elif ".jsonl" in name:
        rows = [line.split(",") for line in CSV.splitlines()[1:]]
        text = "".join(json.dumps({"a": a, "b": {"text": b}, "label": int(label)}) + "\n" for a, b, label in rows)
    assert texts(read(tmp_path, text, name)) == texts(read(tmp_path, CSV))


def test_csv_knows_quotes_and_line_breaks_and_tsv_does_not(tmp_path: Path) -> None:
    quoted = read(tmp_path, '\ufeffa,b,label\r\n"one, ""1""\nline",b,1\r\nc,d,0\r\n')
    assert texts(quoted)[0] == ('one, "1"\nline', "b", True)
    plain = read(tmp_path, 'a\tb\tlabel\n"one\tb"\t1\nc\td\t0\n', "pairs.tsv")
    assert texts(plain)[0] == ('"one', 'b"', True)


def test_what_cannot_count_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "uno,one,1\none,eins,0\ndrei,drei,1\nzwei,drei,0\n"
    table = read(tmp_path, "note,a,b,label\n" + "".join(f"x,{line}\n" for line in (CSV + more).splitlines()[1:]))
    assert texts(table) == texts(read(tmp_path, CSV))
    printed = capsys.readouterr().out
    assert "columns not used: note" in printed
    for said in ("1 of an item with itself", "2 there already", "1 labelled 0 inside one unit"):
        assert f"left out: {said}" in printed
    assert "5 pairs of 6 items: 3 match, 2 do not; 3 units" in printed


def test_unit_columns_decide_whose_items_they_are(tmp_path: Path) -> None:
    table = read(
        tmp_path, "a,b,label,unit_a,unit_b\nhi,ho,1,ann,bob\nhi,hu,1,ann,ann\nho,hu,0,bob,cat\nhi,he,0,ann,ann\n"
    )
    assert texts(table) == [("hi", "ho", True), ("hi", "hu", True), ("ho", "hu", False)]
    assert table.unit_word == "unit of the table"
    scores = score_pairs(table, embeddings(table), "cosine").scores
    assert scores.units.count == 3
    assert scores.genuine.pairs == 2
    assert len(scores.genuine.score) == 3  # the pair of two units counts for each of them
    assert scores.genuine.other is not None


def test_impostor_types_come_from_their_column(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b,label,impostor\np,q,1,\np,r,0,near\nq,s,0,near\np,s,0,\n")
    assert table.types == ("labelled", "near")
    scores = score_pairs(table, embeddings(table), "cosine").scores
    assert {name: len(pairs.score) for name, pairs in scores.impostors.items()} == {"labelled": 1, "near": 2}
    assert describe_impostors(table, ["near=one letter apart"]) == {
        "labelled": "pairs labelled as not matching, of type labelled",
        "near": "one letter apart",
    }
    with pytest.raises(CommandError, match="the table's types are labelled, near, not 'far'"):
        describe_impostors(table, ["far=x"])
    assert describe_impostors(read(tmp_path, CSV), ["other things"]) == {"labelled": "other things"}
    assert describe_impostors(read(tmp_path, CSV), []) == {"labelled": "pairs labelled as not matching"}


def test_refused_items_take_their_pairs_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = read(tmp_path, CSV)
    refused = next(at for at in range(len(table.items)) if table.items[at]["text"] == "drei")
    measured = score_pairs(table, embeddings(table, (refused,)), "cosine")
    assert measured.label.tolist() == [True, True, True, False]
    assert measured.scores.units.count == 2
    assert {row["row"] for row in measured.scores.hardest} == {"1", "2", "3", "4"}
    assert "16.67% of the items are refused, their pairs left out: unusable_input" in capsys.readouterr().out


def test_hardest_pairs_are_row_numbers_in_order(tmp_path: Path) -> None:
    table = read(tmp_path, CSV)
    measured = score_pairs(table, embeddings(table), "cosine")
    genuine = [float(row["score"]) for row in measured.scores.hardest if row["kind"] == "genuine"]
    labelled = [float(row["score"]) for row in measured.scores.hardest if row["kind"] == "labelled"]
    assert genuine == sorted(genuine)
    assert labelled == sorted(labelled, reverse=True)
    assert all(set(row) == {"kind", "score", "row"} for row in measured.scores.hardest)


def test_files_are_found_beside_the_table_and_told_apart_by_content(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name, data in (("one", b"1"), ("same", b"1"), ("two", b"2"), ("three", b"3")):
        (tmp_path / "x" / name).write_bytes(data)
    table = read(tmp_path, "a,b,label\nx/one,x/two,1\nx/two,x/same,1\nx/same,x/three,0\n", form="base64")
    assert [item["bytes"] for item in table.items] == [b"1", b"2", b"3"]
    assert len(table.label) == 2


def test_series_are_json_files_or_items(tmp_path: Path) -> None:
    for name, values in (("one.json", [[1.0]]), ("two.json", [[2.0]])):
        (tmp_path / name).write_text(json.dumps({"values": values, "rate": 4}))
    inline = {"rate": 4, "values": [[1.0]]}
    rows = [{"a": "one.json", "b": "two.json", "label": 1}, {"a": inline, "b": {"values": [[3.0]]}, "label": 0}]
    table = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "p.jsonl", "values")
    assert list(table.items) == [inline, {"values": [[2.0]], "rate": 4}, {"values": [[3.0]]}]
    encoded = {"a": {"base64": base64.b64encode(b"x").decode()}, "b": {"base64": ""}, "label": 1}
    other = {"a": {"base64": base64.b64encode(b"y").decode()}, "b": {"base64": ""}, "label": 0}
    both = read(tmp_path, json.dumps(encoded) + "\n" + json.dumps(other), "q.jsonl", "base64")
    assert both.items[0] == {"bytes": b"x"}
    with pytest.raises(CommandError, match="row 1: base64 is not"):
        read(tmp_path, json.dumps(encoded | {"a": {"base64": "?"}}), "q.jsonl", "base64")


def test_a_table_beyond_what_is_measured_is_drawn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model_export.pairs.MAX_PAIRS", 40)
    text = "a,b,label\n" + "".join(f"{at},x{at},1\n{at},y{at},0\n" for at in range(50))
    first = read(tmp_path, text)
    assert len(first.label) == 40
    assert first.row.tolist() == read(tmp_path, text).row.tolist()
    assert "60 drawn by lot from too many" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("a,b\n1,2\n", "p.csv", "there is no column label"),
        ("x,label\n1,2\n", "p.csv", "no column a and no column b"),
        ("a,b,label,a\n", "p.csv", "a column is there twice"),
        ("", "p.csv", "is empty"),
        ("a;b;label\n1;2;1\n", "p.csv", "no column label; its columns are: a;b;label"),
        ("a,b,label\n1,2,1\n3,4\n", "p.csv", "row 2: it has 2 cells, but there are 3 columns"),
        ("a,b,label\n1,2,yes\n", "p.csv", "row 1: label is 1"),
        ("a,b,label\n1,2,1\n2,1,0\n", "p.csv", "rows 1 and 2 label the same pair differently"),
        ("a,b,label\n1,2,1\n", "p.csv", "none is labelled 0"),
        ("a,b,label\n1,2,0\n", "p.csv", "none is labelled 1"),
        ("a,b,label\n1,1,1\n", "p.csv", "no pair of two different items"),
        ("a,b,label,impostor\n1,2,1,near\n", "p.csv", "leave impostor empty"),
        ("a,b,label,impostor\n1,2,0,very near\n", "p.csv", "impostor is a word"),
        ("a,b,label,impostor\n1,2,0,genuine\n", "p.csv", "other than genuine"),
        ("a,b,label,unit_a\n1,2,1,x\n", "p.csv", "go together"),
        ("a,b,label,unit_a,unit_b\n1,2,1,x,\n", "p.csv", "neither is empty"),
        ('a,b,label\n"1,2,1\n', "p.csv", "unexpected end of data"),
        ("a,b,label\n1,2,1\n", "p.parquet", "is no whole Parquet file"),
        ('{"a": "1", "b": "2", "label": 1, "kind": 3}\n', "p.jsonl", "row 1: 'kind' is not known here"),
        ('{"a": "1", "b": "2"}\n', "p.jsonl", "row 1: a line is a JSON object with a, b and label"),
        ('{"a": "1", "b": "2", "label": true}\n', "p.jsonl", "row 1: label is 1"),
        ('{"a": 1, "b": "2", "label": 1}\n', "p.jsonl", "row 1: a and b are texts, paths or items"),
        ('{"a": {}, "b": "2", "label": 1}\n', "p.jsonl", "row 1: this model takes text "),
        ('{"a": {"text": "1", "values": [[1]]}, "b": "2", "label": 1}\n', "p.jsonl", "the item has text and values"),
        ('{"a": {"text": ["1"]}, "b": "2", "label": 1}\n', "p.jsonl", "row 1: text is no text"),
        ('{"a": {"base64": "MQ=="}, "b": "2", "label": 1}\n', "p.jsonl", "row 1: this model takes text "),
        ('{"a": "1", "b": "2", "label": 1}\n{"a": \n', "p.jsonl", "row 2: a line is a JSON object"),
        (
            '{"a": "1", "b": "2", "label": 1, "unit_a": 1, "unit_b": 2}\n{"a": "1", "b": "3", "label": 0}\n',
            "p.jsonl",
            "row 2: unit_a and unit_b are given in some rows only",
        ),
    ],
)
def test_a_wrong_table_is_told_in_one_line_with_its_row(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        read(tmp_path, text, name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_cannot_be_read_at_all_is_one_line(tmp_path: Path) -> None:
    cut = gzip.compress(CSV.encode())[:-9]
    latin, wide = "a,b,label\né,2,1\n".encode("latin-1"), "a,b,label\n1,2,1\n".encode("utf-16")
    for name, data, said in (
        ("p.csv.gz", b"no gzip", "gzip"),
        ("q.csv.gz", cut, "ended before"),
        ("r.csv", latin, r"\.csv: is not written in UTF-8"),
        ("s.csv", wide, r"\.csv: is not written in UTF-8"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CommandError, match=f"{name[0]}.*{said}"):
            read_pairs(tmp_path / name, "text")
    with pytest.raises(CommandError, match="No such file"):
        read_pairs(tmp_path / "missing.csv", "text")


FILES = {
    "one": b"1",
    "list": b"[1]",
    "words": b"hello",
    "other": b'{"text": "1"}',
    "bytes": b'{"base64": "MQ=="}',
}


@pytest.mark.parametrize(
    ("cell", "form", "said"),
    [
        ("two", "base64", "No such file"),
        (".", "base64", "Is a directory"),
        ("one", "values", "one JSON object"),
        ("other", "values", "takes values .a series of numbers., and the item has text"),
        ("bytes", "values", "takes values .a series of numbers., and the item has base64"),
        ("list", "values", "one JSON object"),
        ("words", "values", "is no JSON"),
    ],
)
def test_a_missing_or_damaged_file_is_named_with_its_row(tmp_path: Path, cell: str, form: str, said: str) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CommandError, match=rf"row 1: .*{said}"):
        read(tmp_path, f"a,b,label\n{cell},one,1\n", form=form)


def test_parquet_says_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [dict(zip(("a", "b", "label"), line.split(","), strict=True)) for line in CSV.splitlines()[1:]]
    table = pyarrow.Table.from_pylist([row | {"label": int(row["label"]), "impostor": None} for row in rows])
    parquet.write_table(table, tmp_path / "pairs.parquet")
    assert texts(read_pairs(tmp_path / "pairs.parquet", "text")) == texts(read(tmp_path, CSV))
