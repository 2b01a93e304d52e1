"""Which of the three forms one's own data has, and which kind of item: read off the folder or the table itself.

What cannot be told is asked for in one line, never guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model_export.datasets.item_files import FORM_OF, SUFFIXES
from model_export.datasets.tables import read_first
from model_export.errors import CommandError
from model_export.recipe.own_data import FolderData, ItemsData, OwnChoice, PairsData
from model_export.splitting import OFFICIAL, PARTS

FORMS: dict[str, type[FolderData] | type[ItemsData] | type[PairsData]] = {
    "folder": FolderData,
    "items": ItemsData,
    "pairs": PairsData,
}
CONTENTS = ("text", "path", "item")
TABLES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".parquet")
PLURAL = {"image": "pictures", "audio": "sounds", "text": "texts", "series": "series"}


@dataclass(frozen=True)
class Layout:
    """`[data]` of a recipe by its fields, all but the licence; the modality of its items; and both in words."""

    path: Path
    section: Mapping[str, Any]
    modality: str
    said: str

    @property
    def plural(self) -> str:
        """The kind of its items in a word."""
        return PLURAL[self.modality]

    @property
    def unsaid(self) -> str:
        """What a match does not mean, where nobody says it."""
        return f"more than that: what the names in {self.path.name} say was taken as it is"

    def data(self, **more: Any) -> OwnChoice:
        """The section as a recipe has it, its licence not stated; `more` are further fields."""
        try:
            return FORMS[self.section["reader"]].model_validate({**self.section, "licence": NOT_STATED, **more})
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"{part}: " for part in first["loc"][:1])
            raise CommandError(f"{where}{first['msg'].removeprefix('Value error, ')}") from error


NOT_STATED = "not stated"


def find_layout(
    path: Path, *, levels: Sequence[str] = (), columns: Mapping[str, str] | None = None, modality: str | None = None
) -> Layout:
    """The layout of a folder or a table. `levels` and `columns` are as in a recipe; `modality` overrides what is seen.

    Raises CommandError, saying what to add, where it cannot be told.
    """
    if path.is_dir():
        if columns:
            raise CommandError(f"{path}: is a folder, and columns are of a table")
        return _folder(path, tuple(levels), modality)
    if not path.is_file():
        raise CommandError(f"{path}: no such file or folder")
    if levels:
        raise CommandError(f"{path}: is a table, and levels are of folders")
    return _table(path, dict(columns or {}), modality)


def _folder(root: Path, levels: tuple[str, ...], modality: str | None) -> Layout:
    files = [one for one in sorted(root.rglob("*")) if one.is_file() and not _hidden(one.relative_to(root))]
    kind = modality or _kind_of_files(root, files)
    items = [one.relative_to(root) for one in files if one.suffix.lower() in SUFFIXES[kind]]
    if not items:
        raise CommandError(f"{root}: holds no {PLURAL[kind]}")
    levels = levels or _levels(root, items)
    section = {"reader": "folder", "folder": str(root.resolve()), "levels": list(levels)}
    said = f"{len(items)} {PLURAL[kind]} in {len({one.parent for one in items})} folders of {' / '.join(levels)}"
    return Layout(root, section, kind, said)


def _hidden(inside: Path) -> bool:
    return any(part.startswith(".") for part in inside.parts)


def _kind_of_files(root: Path, files: Iterable[Path]) -> str:
    """The modality that most files are of; a .json is what the first of them holds."""
    counts: Counter[str] = Counter()
    of_json = None
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".json":
            of_json = of_json or _kind_of_json(file)
            counts[of_json] += 1
        elif known := [kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes]:
            counts[known[0]] += 1
    if counts:
        return counts.most_common(1)[0][0]
    tables = [one.name for one in root.iterdir() if one.name.endswith(TABLES)]
    hint = f"; if {tables[0]} is a table of them, give that" if tables else ""
    raise CommandError(f"{root}: holds no pictures, sounds, texts or series{hint}; see docs/your-data.md")


def _kind_of_json(file: Path) -> str:
    try:
        return _kind_of_item(json.loads(file.read_bytes()), str(file))
    except ValueError as error:
        raise CommandError(f"{file}: is no JSON") from error


def _kind_of_item(item: object, where: str) -> str:
    """The modality of an item as over HTTP. Raises CommandError where it holds none, or bytes of either kind."""
    held = item if isinstance(item, Mapping) else {}
    if "base64" in held:
        raise CommandError(f"{where}: holds bytes; say with --modality whether they are image or audio")
    for kind in ("text", "series"):
        if FORM_OF[kind] in held:
            return kind
    raise CommandError(f"{where}: is no item: it has neither text nor values")


def _levels(root: Path, items: Sequence[Path]) -> tuple[str, ...]:
    depths = {len(one.parts) - 1 for one in items}
    if depths == {1}:
        return ("identity",)
    if depths == {2} and all(_names_a_part(one.parts[0]) for one in items):
        return ("split", "identity")
    if 0 in depths:
        loose = next(one for one in items if len(one.parts) == 1)
        raise CommandError(f"{root}: {loose} lies in no folder: make a folder for each identity, or a table of items")
    if len(depths) > 1:
        few = next(one for one in items if len(one.parts) - 1 == min(depths))
        raise CommandError(f"{root}: items lie in {min(depths)} to {max(depths)} folders (as {few}); give all as many")
    raise CommandError(
        f"{root}: items lie in {max(depths)} folders (as {items[0]}); say from the outside in what these are, as in "
        "--levels group identity (alphabet, character) or --levels unit identity (writer, name)"
    )


def _names_a_part(name: str) -> bool:
    return OFFICIAL.get(name.lower(), name.lower()) in PARTS


def _table(path: Path, columns: dict[str, str], modality: str | None) -> Layout:
    cells = read_first(path)
    column = {role: columns.get(role, role) for role in ("a", "b", "label", "identity", *CONTENTS)}
    section: dict[str, Any] = {"table": str(path.resolve())} | ({"columns": columns} if columns else {})
    if all(column[role] in cells for role in ("a", "b", "label")):
        kind = modality or _kind_of_side(cells[column["a"]], path)
        return Layout(path, {"reader": "pairs", **section}, kind, f"a table of labelled pairs of {PLURAL[kind]}")
    contents = [role for role in CONTENTS if cells.get(column[role]) is not None]
    if column["identity"] in cells and contents:
        kind = modality or _kind_of_cell(contents[0], cells[column[contents[0]]], path)
        return Layout(path, {"reader": "items", **section}, kind, f"a table of {PLURAL[kind]}")
    raise CommandError(
        f"{path}: its columns are {', '.join(cells)}; a table of items has identity and text, path or item, a table of "
        "pairs has a, b and label; say which is which, as in --columns identity=product"
    )


def _kind_of_cell(role: str, cell: object, table: Path) -> str:
    if role == "text":
        return "text"
    if role == "item":
        return _kind_of_item(cell, f"{table}: row 1")
    return _kind_of_path(table.parent / str(cell), f"{table}: row 1")


def _kind_of_side(cell: object, table: Path) -> str:
    """A side of a pair is an item, a file beside the table, or else the text itself."""
    if isinstance(cell, Mapping):
        return _kind_of_item(cell, f"{table}: row 1")
    known = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
    named = Path(str(cell))
    if named.suffix.lower() in known and " " not in named.suffix:
        return _kind_of_path(table.parent / named, f"{table}: row 1")
    return "text"


def _kind_of_path(file: Path, where: str) -> str:
    if file.suffix.lower() == ".json":
        if not file.is_file():
            raise CommandError(f"{where}: {file}: no such file")
        return _kind_of_json(file)
    for kind, suffixes in SUFFIXES.items():
        if file.suffix.lower() in suffixes:
            return kind
    raise CommandError(f"{where}: {file.name}: its name says no kind of item that is known")
