"""Rows of a pair table from a file, each checked, and the items that their cells name. No units, no scores."""

from __future__ import annotations

import base64
import binascii
import csv
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO, overload

from app.core.bundle import canonical_json
from app.core.modalities.base import FORMS, Item
from model_export.errors import CommandError

REQUIRED, OPTIONAL = ("a", "b", "label"), ("impostor", "unit_a", "unit_b")
LABELS = ("0", "1")
TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_CELL = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its number (the first after the header is 1), the places of its items, and what it says of them."""

    number: int
    a: int
    b: int
    label: bool
    impostor: str
    units: tuple[str, str] | None


class Items(Sequence[Item]):
    """Distinct items, each read anew when asked for, so that a large table of files need not be held."""

    def __init__(self, loaders: list[Callable[[], Item]]) -> None:
        self._loaders = loaders

    def __len__(self) -> int:
        return len(self._loaders)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return Items(self._loaders[index]) if isinstance(index, slice) else self._loaders[index]()


class Cells:
    """Turns cells into places among distinct items; items of equal content are one.

    `form` is what the model takes; paths are relative to `folder`.
    """

    def __init__(self, folder: Path, form: str) -> None:
        self._folder, self._form = folder, form
        self._loaders: list[Callable[[], Item]] = []
        self._place: dict[bytes, int] = {}
        self._of_path: dict[str, int] = {}
        self.items = Items(self._loaders)

    def place(self, cell: Any) -> int:
        """The place of a cell's item. Raises CommandError for a cell that names none."""
        if isinstance(cell, Mapping):
            item = _from_http(cell)
            return self._add(_digest(item), lambda: item)
        if not isinstance(cell, str):
            raise CommandError("a and b are texts, paths or items")
        if self._form == "text":
            text: Item = {"text": cell}
            return self._add(_digest(text), lambda: text)
        if cell not in self._of_path:
            load = partial(_read_item, self._folder / cell, self._form)
            self._of_path[cell] = self._add(_digest(load()), load)
        return self._of_path[cell]

    def _add(self, digest: bytes, load: Callable[[], Item]) -> int:
        place = self._place.setdefault(digest, len(self._loaders))
        if place == len(self._loaders):
            self._loaders.append(load)
        return place


def read_rows(path: Path, cells: Cells) -> Iterator[Row]:
    """The rows of a table, in order. Raises CommandError, naming file and row, for the first that is wrong."""
    number, has_units = 0, None
    try:
        with _open(path) as file:
            for number, fields in enumerate(_fields(path.name.removesuffix(".gz"), file), start=1):
                row = _row(number, fields(), cells)
                if has_units is None:
                    has_units = row.units is not None
                elif has_units != (row.units is not None):
                    raise CommandError("unit_a and unit_b are given in some rows only")
                yield row
    except (CommandError, csv.Error, ValueError) as error:
        where = f"row {number}: " if number else ""
        raise CommandError(f"{path}: {where}{error}") from error
    except (OSError, EOFError, zlib.error) as error:  # the last two: a damaged .gz
        raise CommandError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _fields(name: str, file: TextIO) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """For each row a function that reads its columns, so that what is wrong in a row is found with its number."""
    if name.endswith(".jsonl"):
        return (partial(_json, line) for line in file if line.strip())
    if name.endswith((".csv", ".tsv")):
        csv.field_size_limit(LONGEST_CELL)
        rows = csv.reader(file, strict=True)
        if name.endswith(".tsv"):
            rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(rows, [])
        if len(set(header)) != len(header):
            raise CommandError("a column is there twice")
        if missing := [column for column in REQUIRED if column not in header]:
            raise CommandError(f"there is no column {' and no column '.join(missing)}")
        if unused := [column for column in header if column not in (*REQUIRED, *OPTIONAL)]:
            print(f"columns not used: {', '.join(unused)}")
        return (partial(_columns, header, row) for row in rows if row)
    raise CommandError("pairs are read from .csv, .tsv and .jsonl, and each as .gz; Parquet is not read yet")


def _columns(header: Sequence[str], row: Sequence[str]) -> Mapping[str, str]:
    if len(row) != len(header):
        raise CommandError(f"it has {len(row)} cells, but there are {len(header)} columns")
    return dict(zip(header, row, strict=True))


def _json(line: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not set(REQUIRED) <= set(fields):
        raise CommandError("a line is a JSON object with a, b and label")
    if unknown := sorted(set(fields) - {*REQUIRED, *OPTIONAL}):
        raise CommandError(f"{unknown[0]!r} is not known here; a line has {', '.join((*REQUIRED, *OPTIONAL))}")
    return fields


def _row(number: int, fields: Mapping[str, Any], cells: Cells) -> Row:
    label = fields["label"]
    if str(label) not in LABELS:
        raise CommandError("label is 1 for a pair that matches, 0 for one that does not")
    matches, impostor = str(label) == "1", fields.get("impostor") or ""
    if impostor and matches:
        raise CommandError("a pair that matches has no impostor type; leave impostor empty")
    if impostor and (not isinstance(impostor, str) or not TYPE.fullmatch(impostor) or impostor == "genuine"):
        raise CommandError("impostor is a word of letters, digits, '_', '-' and '.', at most 64, other than genuine")
    units = tuple(fields.get(name) for name in ("unit_a", "unit_b"))
    if units != (None, None) and not all(isinstance(unit, str | int) and str(unit).strip() for unit in units):
        raise CommandError("unit_a and unit_b go together, and neither is empty")
    return Row(
        number=number,
        a=cells.place(fields["a"]),
        b=cells.place(fields["b"]),
        label=matches,
        impostor=impostor,
        units=None if units == (None, None) else (str(units[0]), str(units[1])),
    )


def _from_http(item: Mapping[str, Any]) -> Item:
    """An item as over HTTP in the engine's form. Raises CommandError unless it has exactly one content."""
    if len(set(item) & set(FORMS)) != 1:
        raise CommandError(f"an item has exactly one of {', '.join(FORMS)}")
    if "base64" not in item:
        return item
    others = {name: value for name, value in item.items() if name != "base64"}
    try:
        return {"bytes": base64.b64decode(item["base64"], validate=True), **others}
    except (binascii.Error, ValueError, TypeError) as error:
        raise CommandError("base64 is not RFC 4648 base64 with padding") from error


def _read_item(path: Path, form: str) -> Item:
    """The item in a file: its bytes, or the item that its JSON holds."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if form == "base64":
        return {"bytes": data}
    try:
        item = json.loads(data)
    except ValueError as error:
        raise CommandError(f"{path}: is no JSON") from error
    if not isinstance(item, dict):
        raise CommandError(f"{path}: must hold one JSON object, the item")
    return _from_http(item)


def _digest(item: Item) -> bytes:
    """What tells items of different content apart."""
    others = {name: value for name, value in item.items() if name != "bytes"}
    content = item.get("bytes")
    return hashlib.sha256(canonical_json([content is not None, others]) + b"\0" + (content or b"")).digest()
