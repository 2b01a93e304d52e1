"""`embed-files` embeds every item once, says which it could not and why, and never mixes two runs."""

from __future__ import annotations

import base64
import fcntl
import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="embed-files needs the extra `parquet`")

import pyarrow as pa
import pyarrow.parquet as pq

from app.cli import main
from app.embedding_files import running
from tests.embedding_files.pictures import expected, rows, run, shards, summary, write_pictures
from tests.tiny import tiny_png, write_tiny

pytestmark = pytest.mark.timeout(300)
TOLERANCE = 1e-6


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error.removeprefix("twinserve: embed-files: ").rstrip("\n")


def test_folder_becomes_shards_of_embeddings_in_the_order_of_its_paths(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "pictures", 10)
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--shard", "4") == 0
    files = shards(tmp_path / "out")
    assert [pq.read_metadata(file).num_rows for file in files] == [4, 4, 2]
    assert list(rows(tmp_path / "out")) == names
    vectors = np.array([row["embedding"] for row in rows(tmp_path / "out").values()], dtype=np.float32)
    direct = expected(uncalibrated_models, tmp_path / "pictures", names)
    assert np.abs(vectors - direct).max() <= TOLERANCE
    schema = pq.read_schema(files[0])
    assert schema.field("embedding").type == pa.list_(pa.float32(), direct.shape[1])
    about = summary(tmp_path / "out")
    assert (about["model"], about["version"], about["items"], about["failed"]) == ("tiny", "1.0.0", 10, 0)
    assert schema.metadata[b"fingerprint"].decode() == about["fingerprint"]
    assert about["embedding"]["dimension"] == direct.shape[1]
    assert [(shard["file"], shard["items"]) for shard in about["shards"]] == [
        (file.name, pq.read_metadata(file).num_rows) for file in files
    ]


def test_item_that_cannot_be_embedded_has_its_error_and_its_neighbours_go_on(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    names = write_pictures(tmp_path / "pictures", 6)
    (tmp_path / "pictures" / "a" / "001.txt").write_text("no picture")
    (tmp_path / "pictures" / "a" / "large.png").write_bytes(bytes(33 << 20))
    (tmp_path / "pictures" / "item.json").write_text(json.dumps({"base64": base64.b64encode(tiny_png(0, 0)).decode()}))
    (tmp_path / "pictures" / "other.json").write_text('{"text": "a word"}')
    (tmp_path / "pictures" / ".hidden.png").write_text("not looked at")
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    errors = {name: row["error"].partition(":")[0] for name, row in found.items() if row["error"] is not None}
    assert errors == {"a/001.txt": "unusable_input", "a/large.png": "too_large", "other.json": "invalid_request"}
    assert all((row["embedding"] is None) == (row["error"] is not None) for row in found.values())
    assert set(found) == {*names, *errors, "item.json"}
    assert summary(tmp_path / "out")["failed"] == 3


@pytest.fixture
def table(tmp_path: Path) -> list[dict[str, str]]:
    """Rows of a table of pictures, which lie beside it."""
    names = write_pictures(tmp_path / "pictures", 5)
    return [{"id": f"item {number}", "path": f"pictures/{name}"} for number, name in enumerate(names)]


def write_csv(file: Path, given: list[dict[str, str]]) -> Path:
    lines = [",".join(given[0]), *(",".join(row.values()) for row in given)]
    file.write_text("\n".join(lines) + "\n")
    return file


def write_jsonl(file: Path, given: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    return file


def write_parquet(file: Path, given: list[dict[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist(given), file)
    return file


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


@pytest.mark.parametrize("suffix", WRITERS)
def test_table_of_paths_is_embedded_under_its_own_ids(
    uncalibrated_models: Path, tmp_path: Path, table: list[dict[str, str]], suffix: str
) -> None:
    source = WRITERS[suffix](tmp_path / f"items{suffix}", table)
    assert run(uncalibrated_models, source, tmp_path / "out", "--shard", "2") == 0
    found = rows(tmp_path / "out")
    assert list(found) == [row["id"] for row in table]
    direct = expected(uncalibrated_models, tmp_path, [row["path"] for row in table])
    assert np.abs(np.array([row["embedding"] for row in found.values()]) - direct).max() <= TOLERANCE


def test_bytes_in_parquet_and_items_in_json_lines_are_embedded_too(uncalibrated_models: Path, tmp_path: Path) -> None:
    pictures = [tiny_png(identity, 0) for identity in range(3)]
    pq.write_table(pa.table({"picture": pa.array(pictures, type=pa.binary())}), tmp_path / "bytes.parquet")
    items = [{"item": {"base64": base64.b64encode(data).decode()}} for data in pictures]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    assert run(uncalibrated_models, tmp_path / "bytes.parquet", tmp_path / "one", "--column", "picture") == 0
    assert run(uncalibrated_models, tmp_path / "items.jsonl", tmp_path / "two") == 0
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert list(one) == list(two) == ["0", "1", "2"]
    assert [row["embedding"] for row in one.values()] == [row["embedding"] for row in two.values()]
    assert all(row["error"] is None for row in one.values())


def test_run_that_is_done_does_nothing_again(
    uncalibrated_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "pictures", 5)
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--shard", "2") == 0
    before = {file: file.stat().st_mtime_ns for file in shards(tmp_path / "out")}
    monkeypatch.setattr(running, "embed_here", lambda *_: pytest.fail("a process was started"))
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--shard", "2") == 0
    assert {file: file.stat().st_mtime_ns for file in shards(tmp_path / "out")} == before
    assert summary(tmp_path / "out")["items"] == 5


def test_files_that_come_later_change_no_shard(uncalibrated_models: Path, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "pictures", 6)
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--shard", "2") == 0
    (tmp_path / "out" / "part-00001.parquet").unlink()
    (tmp_path / "pictures" / "a" / "000a.png").write_bytes(tiny_png(0, 1))
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--shard", "2") == 0
    assert list(rows(tmp_path / "out")) == names


def test_another_run_is_never_mixed_in(
    uncalibrated_models: Path, tmp_path: Path, table: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_csv(tmp_path / "items.csv", table), tmp_path / "out"
    assert run(uncalibrated_models, source, out) == 0
    capsys.readouterr()
    assert run(uncalibrated_models, source, out, "--shard", "7") == 2
    assert said(capsys) == f"{out}: holds another run, which differs in shard_items; give another folder"
    write_csv(source, table[1:])
    assert run(uncalibrated_models, source, out) == 2
    assert "differs in source" in said(capsys)
    assert run(uncalibrated_models, tmp_path / "pictures", out) == 2
    assert "differs in source" in said(capsys)
    shutil.copytree(uncalibrated_models, tmp_path / "models")
    write_tiny(tmp_path / "models", version="1.0.1", calibrated=False)
    assert run(tmp_path / "models", source, out) == 2
    assert "version" in said(capsys)


def test_folder_of_other_parquet_files_is_left_alone(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "pictures", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "theirs.parquet").write_bytes(b"")
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out") == 2
    assert "holds Parquet files of something else" in said(capsys)


def test_two_runs_at_once_in_a_folder_are_one_too_many(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "pictures", 2)
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out") == 2
    assert said(capsys) == f"{tmp_path / 'out'}: another run is at work there"


def test_output_inside_the_source_is_not_embedded(uncalibrated_models: Path, tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "pictures", 2)
    out = tmp_path / "pictures" / "out"
    assert run(uncalibrated_models, tmp_path / "pictures", out) == 0
    assert list(rows(out)) == names


@pytest.mark.parametrize(
    ("name", "content", "more", "reason"),
    [
        ("items.csv", "id,picture\na,b.png\n", (), "has no column path or item or bytes"),
        ("items.csv", "id,path\na,b.png\n", ("--column", "picture"), "has no column picture"),
        ("items.csv", "id,path\na,b.png\n", ("--id", "name"), "has no column name"),
        ("items.jsonl", '{"path": "b.png"}\n[]\n', (), "line 2 is no JSON object"),
        ("items.jsonl", '{"path": "b.png"', (), "line 1 is no JSON"),
        ("items.jsonl", '{"id": "a", "path": "b.png"}\n{"path": "b.png"}\n', (), "row 1 has nothing in the column id"),
        ("items.parquet", "no parquet", (), "is no Parquet, or a damaged one"),
        ("items.xlsx", "", (), "is no folder, and no file that ends in .parquet, .csv, .jsonl"),
    ],
)
def test_source_at_fault_is_one_line(
    *,
    uncalibrated_models: Path,
    tmp_path: Path,
    name: str,
    content: str,
    more: tuple[str, ...],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_text(content)
    assert run(uncalibrated_models, tmp_path / name, tmp_path / "out", *more) == 1
    assert reason in said(capsys)
    assert not (tmp_path / "out" / "embeddings.json").exists()


def test_nothing_embedded_at_all_is_told_by_the_exit_code(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "items.csv", [{"path": "missing.png"}])
    assert run(uncalibrated_models, tmp_path / "items.csv", tmp_path / "out") == 1
    assert "unusable_input: the file cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["--model", "other"], ["--models", "nowhere"]])
def test_model_that_is_not_there_is_exit_3(
    uncalibrated_models: Path, tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "pictures", 1)
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", *given) == 3
    assert said(capsys)


def test_several_models_have_to_be_chosen_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "pictures", 1)
    for name in ("tiny", "other"):
        write_tiny(tmp_path / "models", name=name, calibrated=False)
    assert run(tmp_path / "models", tmp_path / "pictures", tmp_path / "out") == 3
    assert "set --model to one of other, tiny" in said(capsys)


def test_process_that_dies_is_told_and_the_run_can_go_on(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "pictures", 4)
    monkeypatch.setattr("app.embedding_files.processes.work", _die)
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out") == 2
    assert said(capsys) == "a process ended by itself before it began (exit code 9)"
    monkeypatch.undo()
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out") == 0


def _die(*_: object) -> None:
    sys.exit(9)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1000001"])
def test_shard_has_a_number_of_items(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["embed-files", "x", "--out", "y", "--shard", text])
    assert caught.value.code == 2
    assert "is no number from 1 to 1000000" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "extra"), [("pyarrow", "parquet"), ("ray", "ray")])
def test_missing_package_is_one_line_with_its_extra(
    *,
    uncalibrated_models: Path,
    tmp_path: Path,
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_pictures(tmp_path / "pictures", 1)
    monkeypatch.setattr(running, "find_spec", lambda name: None if name == package else find_spec(name))
    assert run(uncalibrated_models, tmp_path / "pictures", tmp_path / "out", "--ray", "auto") == 2
    assert said(capsys).endswith(f"needs the package '{package}': install twinserve[{extra}]")
