"""Rows of a table from a file: CSV, TSV and JSON lines, each also as .gz, and Parquet.

What they mean is not known here. TSV knows no quoting. Rows are counted from 1 below the header.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

from model_export.errors import CommandError

LONGEST_CELL = 16 * 1024 * 1024
ROWS_AT_ONCE = 1024
T = TypeVar("T")
Cells = Mapping[str, Any]


def read_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str],
    make: Callable[[int, Cells], T],
    *,
    closed_lines: bool = False,
    all_of_them: bool = False,
) -> Iterator[T]:
    """make(number, cells) of every row, in order; `cells` may hold more columns than the named ones.

    Columns that are not named are told and not used, unless `all_of_them` are asked for; with `closed_lines`, those of
    JSON lines are refused. Raises CommandError, naming file and row, for the first row that is wrong, also where `make`
    raises one.
    """
    columns = _Columns(tuple(required), tuple(optional), closed_lines, all_of_them)
    number = 0
    try:
        for number, cells in enumerate(_rows(path, columns), start=1):
            yield make(number, cells())
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is not written in UTF-8; save it in that encoding") from error
    except (CommandError, csv.Error, ValueError) as error:
        where = f"row {number}: " if number else ""
        raise CommandError(f"{path}: {where}{error}") from error
    except (OSError, EOFError, zlib.error) as error:  # the last two: a damaged .gz
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def read_first(path: Path) -> Cells:
    """Every column of the first row; what is in it is not checked. Raises CommandError as read_table does."""
    for cells in read_table(path, (), (), lambda _, cells: cells, all_of_them=True):
        return cells
    raise CommandError(f"{path}: has no row")


@dataclass(frozen=True)
class _Columns:
    """The columns that are asked for, or `all_of_them`, and those that were told not to be used."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    closed_lines: bool
    all_of_them: bool = False
    told: set[str] = field(default_factory=set)

    def check(self, header: Sequence[str]) -> None:
        """Raise CommandError for a missing or a double column; tell those that are not used."""
        if len(set(header)) != len(header):
            raise CommandError("a column is there twice")
        if missing := [column for column in self.required if column not in header]:
            there = ", ".join(header)
            raise CommandError(f"there is no column {' and no column '.join(missing)}; its columns are: {there}")
        self.tell(header)

    def check_line(self, cells: object) -> None:
        """Raise CommandError unless a JSON line has what a row needs."""
        if not isinstance(cells, dict) or not set(self.required) <= set(cells):
            *others, last = self.required
            raise CommandError(f"a line is a JSON object with {', '.join(others)}{' and ' if others else ''}{last}")
        if self.closed_lines and (unknown := sorted(set(cells) - {*self.required, *self.optional})):
            known = ", ".join((*self.required, *self.optional))
            raise CommandError(f"{unknown[0]!r} is not known here; a line has {known}")
        self.tell(cells)

    def tell(self, names: Iterable[str]) -> None:
        if self.all_of_them:
            return
        if unused := [name for name in names if name not in (*self.required, *self.optional, *self.told)]:
            self.told.update(unused)
            print(f"columns not used: {', '.join(unused)}")


def _rows(path: Path, columns: _Columns) -> Iterator[Callable[[], Cells]]:
    """For each row a function that reads its columns, so that what is wrong in a row is found with its number."""
    name = path.name.removesuffix(".gz")
    if path.name.endswith(".parquet"):
        yield from _parquet(path, columns)
    elif name.endswith((".csv", ".tsv", ".jsonl")):
        with _open(path) as file:
            if name.endswith(".jsonl"):
                yield from (partial(_json, line, columns) for line in file if line.strip())
            else:
                yield from _separated(file, name.endswith(".tsv"), columns)
    else:
        raise CommandError("tables are read from .csv, .tsv and .jsonl, each also as .gz, and from .parquet")


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _separated(file: TextIO, tabs: bool, columns: _Columns) -> Iterator[Callable[[], Cells]]:
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(file, strict=True)
    header = next(rows, [])
    if not header:
        raise CommandError("is empty: its first line names its columns")
    columns.check(header)
    for row in rows:
        if row:
            yield partial(_named, header, row)


def _named(header: Sequence[str], row: Sequence[str]) -> Cells:
    if len(row) != len(header):
        raise CommandError(f"it has {len(row)} cells, but there are {len(header)} columns")
    return dict(zip(header, row, strict=True))


def _json(line: str, columns: _Columns) -> Cells:
    try:
        cells = json.loads(line)
    except ValueError:
        cells = None
    columns.check_line(cells)
    named: Cells = cells
    return named


def _parquet(path: Path, columns: _Columns) -> Iterator[Callable[[], Cells]]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra, for those who have such tables
        from pyarrow import parquet  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise CommandError("Parquet needs the package pyarrow: install twinserve[parquet]") from error
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns.check(names)
            used = [name for name in names if columns.all_of_them or name in (*columns.required, *columns.optional)]
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=used):
                yield from (partial(dict, row) for row in batch.to_pylist())
    except pyarrow.ArrowException as error:
        raise CommandError(f"is no whole Parquet file: {str(error).splitlines()[0]}") from error
