"""A table of items: a row says where an item is (path), or is it (text), and what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from app.core.modalities.base import Item
from model_export.datasets.item_files import FORM_OF, from_http, read_item
from model_export.datasets.listing import Found, Listing, list_items
from model_export.datasets.tables import read_table
from model_export.errors import CommandError
from model_export.recipe.own_data import ItemsData

SAID = ("identity", "unit", "group", "source", "split")


def read_items(beside: Path, data: ItemsData, modality: str) -> Listing:
    """The items of `data.table`, in its order; paths in it are relative to the table.

    The item of a row is in the first of the columns text (for a model of text), path and item (in JSON lines, as over
    HTTP) that is given. Raises CommandError, naming file and row, for the first row that is wrong.
    """
    path = beside / data.table
    if not path.is_file():
        raise CommandError(f"{path}: no such file; data.table is looked for beside the recipe file")
    return list_items(find_rows(path, FORM_OF[modality], data.columns), str(path))


def find_rows(path: Path, form: str, columns: Mapping[Any, str], *, named: bool = True) -> Iterator[Found]:
    """The item of each row, for a model that takes `form`; without `named`, no column of identities is required."""
    column = {role: columns.get(role, role) for role in ("path", "text", "item", *SAID)}
    required = {*([column["identity"]] if named else []), *columns.values()}
    contents = ("text", "path", "item") if form == "text" else ("path", "item")
    optional = {column[role] for role in (*contents, *SAID)} - required

    def make(number: int, cells: Mapping[str, Any]) -> Found:
        said = {role: _name(cells[column[role]], column[role]) for role in SAID if column[role] in cells}
        for role in contents:
            if cells.get(column[role]) is not None:
                cell = cells[column[role]]
                name = f"row {number}, {cell}" if role == "path" else f"row {number}"
                return Found(name, _loader(role, cell, path.parent, form), **said)
        raise CommandError(f"there is no column {' and no column '.join(column[role] for role in contents)}")

    return read_table(path, sorted(required), sorted(optional), make)


def _loader(role: str, cell: Any, folder: Path, form: str) -> Callable[[], Item]:
    if role == "item":
        if not isinstance(cell, Mapping):
            raise CommandError("item is an item as over HTTP, in JSON lines")
        item = from_http(cell, form)
        return lambda: item
    if not isinstance(cell, str) or not cell.strip():
        raise CommandError(f"{role} is empty, or no text")
    if role == "text":
        return lambda: {"text": cell}
    return partial(read_item, folder / cell, form)


def _name(cell: Any, column: str) -> str:
    """What a cell calls something. Raises CommandError where it is empty or no name."""
    if isinstance(cell, bool) or not isinstance(cell, str | int) or not str(cell).strip():
        raise CommandError(f"{column} is empty, or neither text nor a whole number")
    return str(cell).strip()
