"""Rows of a pair table from a file, each checked, and the items that their cells name. No units, no scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.core.modalities.base import Item
from model_export.datasets.item_files import Items, digest_item, from_http, read_item
from model_export.datasets.tables import read_table
from model_export.errors import CommandError

REQUIRED, OPTIONAL = ("a", "b", "label"), ("impostor", "unit_a", "unit_b")
LABELS = ("0", "1")
TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its number (the first after the header is 1), the places of its items, and what it says of them."""

    number: int
    a: int
    b: int
    label: bool
    impostor: str
    units: tuple[str, str] | None


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
            item = from_http(cell, self._form)
            return self._add(digest_item(item), lambda: item)
        if not isinstance(cell, str):
            raise CommandError("a and b are texts, paths or items")
        if self._form == "text":
            text: Item = {"text": cell}
            return self._add(digest_item(text), lambda: text)
        if cell not in self._of_path:
            load = partial(read_item, self._folder / cell, self._form)
            self._of_path[cell] = self._add(digest_item(load()), load)
        return self._of_path[cell]

    def _add(self, digest: bytes, load: Callable[[], Item]) -> int:
        place = self._place.setdefault(digest, len(self._loaders))
        if place == len(self._loaders):
            self._loaders.append(load)
        return place


def read_rows(path: Path, cells: Cells, columns: Mapping[Any, str] | None = None) -> Iterator[Row]:
    """The rows of a table, in order; `columns` are other names of its columns, by their own.

    Raises CommandError, naming file and row, for the first that is wrong. In JSON lines, unknown members are wrong
    where no other names are given.
    """
    name_of = {role: (columns or {}).get(role, role) for role in (*REQUIRED, *OPTIONAL)}
    has_units: list[bool] = []

    def make(number: int, fields: Mapping[str, Any]) -> Row:
        row = _row(number, {role: fields[name] for role, name in name_of.items() if name in fields}, cells)
        has_units.append(row.units is not None)
        if has_units[-1] != has_units[0]:
            raise CommandError("unit_a and unit_b are given in some rows only")
        return row

    required = [name for role, name in name_of.items() if role in REQUIRED or role in (columns or ())]
    optional = [name for name in name_of.values() if name not in required]
    return read_table(path, required, optional, make, closed_lines=columns is None)


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
