"""Tables of labelled pairs: one's own evidence, read from CSV, TSV or JSON lines, each also as .gz, or Parquet.

Columns: `a`, `b`, `label` (1: they match, 0: they do not), and, if wanted, `impostor` (the type of a pair that does not
match), `unit_a` and `unit_b` (whose items they are). A cell is the text itself for a model of text; for others the
path, relative to the table, of the encoded file, or of a JSON file with the item ({"values", "rate"}). In JSON lines
`a` and `b` may also be items as over HTTP. TSV knows no quoting. docs/calibrating.md has it with examples.

Without unit columns a unit is a connected component over the pairs labelled 1: items that match, directly or through
others, are one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence import GenuineScores, PairScores, Units
from app.core.modalities.base import Item
from app.core.scoring import Metric, similarity
from model_export.comparing import Scores, hardest
from model_export.errors import CommandError
from model_export.measure import Embeddings, Vectors
from model_export.pair_rows import Cells, Row, read_rows

MAX_PAIRS = 100_000
"""Pairs measured of a table; each may be a unit pair, and a draw holds a weight for each of their units."""
LABELLED = "labelled"
NO_MATCH = "pairs labelled as not matching"
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Words:
    """What the caller says of a table, for the verdicts that rest on it; None: said by the table itself."""

    population: str | None = None
    unit: str | None = None
    impostors: Sequence[str] = ()
    valid_for_days: int = 730


@dataclass(frozen=True)
class PairTable:
    """Distinct items, and distinct pairs of them: places in `items`, label, impostor type ("" where the label is 1),
    units and row number, all (pairs,). `unit_of_item` (items,) is the unit that an item was first seen with, and
    `unit_names` what the table calls the units, empty where it does not. Items are in the order of their first rows.
    """

    items: Sequence[Item]
    a: Integers
    b: Integers
    label: Booleans
    kind: npt.NDArray[np.str_]
    unit_a: Integers
    unit_b: Integers
    row: Integers
    unit_of_item: Integers
    unit_word: str
    unit_names: tuple[str, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The impostor types, in alphabetical order."""
        return tuple(np.unique(self.kind[~self.label]).tolist())

    def select(self, pairs: Integers) -> PairTable:
        """The pairs at these places alone, and their items."""
        used, places = np.unique(np.stack([self.a[pairs], self.b[pairs]]), return_inverse=True)
        a, b = places.reshape(2, -1)
        by_pair = {name: getattr(self, name)[pairs] for name in ("label", "kind", "unit_a", "unit_b", "row")}
        items = [self.items[at] for at in used.tolist()]
        return replace(self, items=items, a=a, b=b, unit_of_item=self.unit_of_item[used], **by_pair)


@dataclass(frozen=True)
class MeasuredPairs:
    """Scores of the pairs whose items could both be embedded; score float32, label bool and number of its row int64
    (pairs,), each pair once.
    """

    scores: Scores
    score: npt.NDArray[np.float32]
    label: Booleans
    row: Integers


def read_pairs(path: Path, form: str) -> PairTable:
    """A table that is measured: as join_pairs, of at most MAX_PAIRS pairs. Raises CommandError without both labels."""
    table = join_pairs(path, form, most=MAX_PAIRS)
    if not table.label.any() or table.label.all():
        none = 0 if table.label.any() else 1
        raise CommandError(f"{path}: pairs of both labels are needed, and none is labelled {none}")
    return table


def join_pairs(
    path: Path, form: str, columns: Mapping[Any, str] | None = None, *, most: int | None = None
) -> PairTable:
    """Read and check a table for a model of this form; what is left out is printed in one line.

    A pair counts once, however often it is there; pairs of an item with itself, and pairs labelled 0 inside one unit,
    are left out; of more than `most` pairs so many are drawn. Raises CommandError for a table that cannot be read or
    that contradicts itself.
    """
    cells = Cells(path.parent, form)
    rows = list(read_rows(path, cells, columns))
    left_out: dict[str, int] = {}
    rows = _distinct(rows, left_out)
    # Units of the whole table: a row that is drawn out still says which items are one thing.
    joined = list(zip(rows, _units(rows, len(cells.items)), strict=True))
    if most is not None and len(joined) > most:
        chosen = np.sort(np.random.default_rng(0).permutation(len(joined))[:most])
        left_out["drawn by lot from too many"] = len(joined) - most
        joined = [joined[at] for at in chosen]
    kept = [(row, (one, other)) for row, (one, other) in joined if row.label or one != other]
    left_out["labelled 0 inside one unit"] = len(joined) - len(kept)
    number: dict[object, int] = {}
    ends = np.array([[number.setdefault(end, len(number)) for end in unit] for _, unit in kept], np.int64).reshape(
        -1, 2
    )
    used, places = np.unique([[row.a, row.b] for row, _ in kept], return_inverse=True)
    places = places.reshape(-1, 2)
    unit_of_item = np.empty(len(used), np.int64)
    unit_of_item[places[::-1]] = ends[::-1]  # the first row that names an item says whose it is
    label = np.array([row.label for row, _ in kept], np.bool_)
    print(
        f"{len(kept)} pairs of {len(used)} items: {label.sum()} match, {(~label).sum()} do not; "
        f"{len(number)} units" + "".join(f"; left out: {count} {why}" for why, count in left_out.items() if count)
    )
    return PairTable(
        items=cells.items.pick(used.tolist()),
        a=places[:, 0],
        b=places[:, 1],
        label=label,
        kind=np.array(["" if row.label else row.impostor or LABELLED for row, _ in kept]),
        unit_a=ends[:, 0],
        unit_b=ends[:, 1],
        row=np.array([row.number for row, _ in kept], np.int64),
        unit_of_item=unit_of_item,
        unit_word="group of matching items" if rows[0].units is None else "unit of the table",
        unit_names=() if rows[0].units is None else tuple(map(str, number)),
    )


def score_pairs(
    table: PairTable,
    rows: Embeddings,
    metric: Metric,
    *,
    others: Vectors | None = None,
    tell: Callable[[str], None] = print,
) -> MeasuredPairs:
    """Compare the pairs whose items could both be embedded. Raises CommandError where too few are left.

    `others`: vectors of the same items changed somehow; then item `a` of each pair is as it was, item `b` changed.
    """
    for code, share in rows.failure_to_acquire.items():
        tell(f"{share:.2%} of the items are refused, their pairs left out: {code}")
    place = np.cumsum(rows.kept) - 1
    kept = np.flatnonzero(rows.kept[table.a] & rows.kept[table.b])
    label, kind = table.label[kept], table.kind[kept]
    a, b = place[table.a[kept]], place[table.b[kept]]
    vectors, second = rows.vectors, rows.vectors if others is None else others
    score = np.array([similarity(vectors[i], second[j], metric) for i, j in zip(a, b, strict=True)], np.float32)
    names, unit = np.unique(np.stack([table.unit_a[kept], table.unit_b[kept]]), return_inverse=True)
    unit_a, unit_b = unit.reshape(2, -1)
    types = [name for name in table.types if (kind == name).any()]
    if not label.any() or not types:
        lost = 0 if label.any() else 1
        first = int(table.row[table.label == bool(lost)][0])
        raise CommandError(f"of every pair labelled {lost} an item is refused or empty, that of row {first} first")
    masks = {"genuine": label, **{name: ~label & (kind == name) for name in types}}
    return MeasuredPairs(
        Scores(
            Units(len(names)),
            GenuineScores.between(score[label], unit_a[label], unit_b[label]),
            {name: PairScores(score[masks[name]], unit_a[masks[name]], unit_b[masks[name]]) for name in types},
            hardest=[
                {"kind": name, "score": f"{score[at]:.6f}", "row": str(table.row[kept[at]])}
                for name, mask in masks.items()
                for at in hardest(score, mask, lowest=name == "genuine")
            ],
        ),
        score,
        label,
        table.row[kept],
    )


def describe_impostors(table: PairTable, said: Sequence[str]) -> dict[str, str]:
    """Impostor type -> words. said: `TYPE=words` each, or the words alone where there is one type.

    Raises CommandError for a type that the table does not have.
    """
    words = describe_types(table.types)
    for one in said:
        name, equals, text = one.partition("=")
        if not equals and len(table.types) == 1:
            name, text = table.types[0], one
        if name not in words or not text.strip():
            have = ", ".join(table.types)
            raise CommandError(f"--impostor: give TYPE=WORDS; the table's types are {have}, not {name!r}")
        words[name] = text.strip()
    return words


def describe_types(types: Sequence[str]) -> dict[str, str]:
    """Impostor type -> what can be said of it without being told more."""
    if tuple(types) == (LABELLED,):
        return {LABELLED: NO_MATCH}
    return {name: f"{NO_MATCH}, of type {name}" for name in types}


def _distinct(rows: Sequence[Row], left_out: dict[str, int]) -> list[Row]:
    """Each unordered pair once for its type. Raises CommandError for a pair with both labels, naming the rows."""
    first: dict[tuple[int, int], Row] = {}
    seen: set[tuple[int, int, str]] = set()
    kept = []
    own = double = 0
    for row in rows:
        pair = min(row.a, row.b), max(row.a, row.b)
        before = first.setdefault(pair, row)
        if before.label != row.label:
            raise CommandError(f"rows {before.number} and {row.number} label the same pair differently; correct one")
        if row.a == row.b:
            own += 1
        elif (*pair, row.impostor) in seen:
            double += 1
        else:
            seen.add((*pair, row.impostor))
            kept.append(row)
    left_out |= {"of an item with itself": own, "there already": double}
    if not kept:
        raise CommandError("the table holds no pair of two different items")
    return kept


def _units(rows: Sequence[Row], items: int) -> list[tuple[object, object]]:
    """The two units of each row: those that the table names, else the components of the pairs labelled 1."""
    if rows[0].units is not None:
        return [row.units for row in rows if row.units is not None]
    parent = list(range(items))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for row in rows:
        if row.label:
            parent[root(row.a)] = root(row.b)
    return [(root(row.a), root(row.b)) for row in rows]
