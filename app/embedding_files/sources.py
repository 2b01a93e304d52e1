"""Where the items come from: a folder of files, or a table in Parquet, CSV or JSON lines. Nothing is decoded here.

Rows come in an order that stays the same from run to run, since a shard is told by its place in it.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiter

from app.core.errors import TwinserveError

Content = Path | bytes | str | Mapping[str, Any] | Sequence[Any] | TwinserveError | None
COLUMNS = ("text", "path", "item", "bytes")
"""The column of items where none is named: the first of these that is there; `text` for a model of text only."""
PATH, ID, TEXT = "path", "id", "text"


class SourceError(Exception):
    """The source cannot be read; the message is one line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item: what it is called, and the file it is in, its bytes, its text, the item as over HTTP, or a series.

    An error in its place is why there is none.
    """

    id: str
    content: Content


@dataclass(frozen=True, slots=True)
class Source:
    """`about` is what has to be the same when a run goes on; `rows` gives all of them, from the first, each time."""

    about: Mapping[str, Any]
    rows: Callable[[], Iterator[Row]]


def open_source(path: Path, *, form: str, column: str | None, id_column: str | None, listing: Path) -> Source:
    """Return the source at `path` for a model that takes `form`, a member of FORMS.

    The list of a folder's files is written to the file `listing` once and read from there ever after, so that files
    that come or go meanwhile change no shard. Raises SourceError, OSError.
    """
    if path.is_dir():
        if column is not None or id_column is not None:
            raise SourceError("--column and --id go with a table; the files of a folder are called by their paths")
        return _open_folder(path, listing)
    readers = {".parquet": _read_parquet, ".csv": _read_csv, ".jsonl": _read_jsonl}
    if not path.is_file() or path.suffix.lower() not in readers:
        raise SourceError(f"{path}: is no folder, and no file that ends in {', '.join(readers)}")
    found = path.stat()
    about = {"table": str(path.resolve()), "bytes": found.st_size, "modified_ns": found.st_mtime_ns}
    about |= {"column": column, "id_column": id_column}
    cells = readers[path.suffix.lower()]
    return Source(about, lambda: _rows(cells(path), path, form, column, id_column))


def _open_folder(folder: Path, listing: Path) -> Source:
    if not listing.exists():
        draft = listing.with_suffix(".tmp")
        with draft.open("w", encoding="ascii") as file:
            for name in _names(folder, listing.parent.resolve()):
                file.write(json.dumps(name) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(listing)

    def rows() -> Iterator[Row]:
        with listing.open(encoding="ascii") as file:
            for line in file:
                name = json.loads(line)
                yield Row(name, folder / name)

    return Source({"folder": str(folder.resolve())}, rows)


def _names(folder: Path, output: Path) -> Iterator[str]:
    """Paths of all files below, with / between their parts; hidden ones and the output are left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(here, name).resolve() != output
        )
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(here, name).relative_to(folder).as_posix()
                if not path.isprintable():  # includes what is no UTF-8, which Parquet could not hold
                    raise SourceError(f"{path!a}: a file's name must be printable text")
                yield path


def _rows(
    cells: Iterator[Mapping[str, Any]], path: Path, form: str, column: str | None, id_column: str | None
) -> Iterator[Row]:
    first = next(cells, None)
    if first is None:
        return
    offered = [name for name in COLUMNS if name != TEXT or form == TEXT]
    column = column or next((name for name in offered if name in first), None)
    if column is None or column not in first:
        raise SourceError(
            f"{path}: has no column {column or ' or '.join(offered)}; --column says which holds the items"
        )
    if id_column is not None and id_column not in first:
        raise SourceError(f"{path}: has no column {id_column}")
    name = id_column or (ID if ID in first else None)
    for number, row in enumerate(itertools.chain([first], cells)):
        cell = row.get(column)
        if isinstance(cell, str) and (column == PATH or form != TEXT):
            cell = path.parent / cell
        called = number if name is None else row.get(name)
        if called is None:
            raise SourceError(f"{path}: row {number} has nothing in the column {name}")
        yield Row(str(called), cell)


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa  # noqa: PLC0415  (an extra)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise SourceError(f"{path}: is no Parquet, or a damaged one") from error


def _read_csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            yield from csv.DictReader(file, strict=True)
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: is no CSV in UTF-8 ({error})") from error


def _read_jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                cells = jiter.from_json(line, allow_inf_nan=False, catch_duplicate_keys=True)
            except ValueError as error:
                raise SourceError(f"{path}: line {number} is no JSON ({error})") from error
            if not isinstance(cells, dict):
                raise SourceError(f"{path}: line {number} is no JSON object")
            yield cells


def cut(rows: Iterable[Row], size: int) -> Iterator[tuple[int, list[Row]]]:
    """Number the shards of `size` rows, the last of fewer."""
    remaining = iter(rows)
    for number in itertools.count():
        shard = list(itertools.islice(remaining, size))
        if not shard:
            return
        yield number, shard
