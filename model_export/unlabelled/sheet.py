"""The sheet of questions: a CSV that a person fills in, read back and carried on. Knows no scores, and shows none.

Columns: `number`; `a` and `b`, the two items (texts themselves, else what files or rows are called); `match`, to be
filled in with 1 (they match), 0 (they do not) or ? (cannot tell); `a_key` and `b_key`, digests by which the items are
found again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from model_export.datasets.tables import read_table
from model_export.errors import CommandError

MATCH = {"1": True, "0": False, "?": None, "": None}
FORMULA = ("=", "+", "-", "@")
"""A cell that begins so is run by spreadsheets, unless something stands before it."""


@dataclass(frozen=True)
class Question:
    """A row of the sheet, its columns in order; match as it was written."""

    number: int
    a: str
    b: str
    match: str
    a_key: str
    b_key: str

    @property
    def answer(self) -> bool | None:
        """Whether the two match; None where nobody said, or could tell."""
        return MATCH[self.match]


COLUMNS = tuple(field.name for field in fields(Question))


def write_sheet(path: Path, questions: Sequence[Question]) -> None:
    """Write the sheet, replacing what is there."""
    file = StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in questions:
        writer.writerow([f"'{cell}" if str(cell).startswith(FORMULA) else cell for cell in astuple(one)])
    path.write_text(file.getvalue(), "utf-8")


def read_sheet(path: Path) -> list[Question]:
    """The rows of a sheet. Raises CommandError, naming the row, for an answer that is none or a pair asked twice."""
    questions = list(_rows(path))
    if not questions:
        raise CommandError(f"{path}: holds no question")
    seen: set[frozenset[str]] = set()
    for one in questions:
        pair = frozenset((one.a_key, one.b_key))
        if pair in seen:
            raise CommandError(f"{path}: row {one.number}: this pair is there twice")
        seen.add(pair)
    return questions


def _rows(path: Path) -> Iterator[Question]:
    def make(number: int, cells: Mapping[str, Any]) -> Question:
        match = str(cells["match"]).strip()
        if match not in MATCH:
            raise CommandError("match is 1 for two that match, 0 for two that do not, ? where nobody can tell")
        return Question(number, cells["a"], cells["b"], match, cells["a_key"], cells["b_key"])

    return read_table(path, COLUMNS[1:], COLUMNS[:1], make)
