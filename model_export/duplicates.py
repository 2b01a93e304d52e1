"""Copies across the parts of a split, found before anything is learnt: they stop the run, or leave what trains.

What counts as a copy is said in likeness.py and near_copies.py. A figure on an item whose copy trained would flatter.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.core import modalities
from app.core.errors import TwinserveError
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.likeness import Print, print_prepared, print_text
from model_export.measure import shown
from model_export.near_copies import ALIKE, exact_pairs, near_pairs
from model_export.recipe import ModalityChoice
from model_export.recipe.own_data import OwnData

PRINTED = 10
LIST = "duplicates.csv"
HEADER = ("part", "item", "other_part", "other_item", "same", "likeness", "identities")
Parts = Mapping[str, LabelledItems]


@dataclass(frozen=True, slots=True)
class Copy:
    """Two items that are one: parts and places in them, what is the same, how alike, and whether of one identity."""

    part: str
    place: int
    other_part: str
    other_place: int
    same: str
    likeness: float
    one_identity: bool

    def row(self, parts: Parts) -> tuple[str, ...]:
        """A row of duplicates.csv."""
        return (
            self.part,
            parts[self.part].name(self.place),
            self.other_part,
            parts[self.other_part].name(self.other_place),
            self.same,
            f"{self.likeness:.4f}",
            "one" if self.one_identity else "two",
        )

    def line(self, parts: Parts) -> str:
        """The same in words."""
        part, item, other_part, other_item, same, likeness, _ = self.row(parts)
        said = f"nearly the same, {likeness}" if same == "near" else f"same {same}"
        conflict = "" if self.one_identity else ", of two identities"
        return f"{part}: {item} = {other_part}: {other_item} ({said}{conflict})"


def settle_copies(splits: Splits, modality: ModalityChoice, data: OwnData, folder: Path | None) -> Splits:
    """The splits without copies across parts, as the recipe says. The whole list goes to `folder`, if there is one.

    Raises CommandError where there are copies and the recipe does not say to drop them, and for items that cannot be
    prepared though they would train.
    """
    parts = splits.parts()
    copies = list(find_copies(parts, modality, near=data.near_duplicates))
    if not copies:
        if folder is not None:
            (folder / LIST).unlink(missing_ok=True)  # of copies that are no longer there
        return splits
    where = "" if folder is None else f"; all are listed in {_write_list(folder, copies, parts)}"
    for copy in copies[:PRINTED]:
        print(copy.line(parts))
    if len(copies) > PRINTED:
        print(f"and {len(copies) - PRINTED} more")
    if data.duplicates == "stop":
        near = sum(copy.same == "near" for copy in copies)
        raise CommandError(
            f"data: {len(copies)} pairs of items are copies across parts or under two identities ({len(copies) - near} "
            f'exact, {near} near){where}; correct the data, or say data.duplicates = "drop"'
        )
    leaving = _leaving(copies)
    kept, dropped = {}, []
    for name, items in parts.items():
        mask = ~np.isin(np.arange(len(items)), sorted(leaving.get(name, ())))
        kept[name] = items.select(mask)
        if not mask.all():
            print(f"{(~mask).sum()} items leave {name}, as data.duplicates says{where}")
    for copy in copies:
        dropped.append(copy.line(parts))
    return splits.with_parts(kept, dropped)


def find_copies(parts: Parts, modality: ModalityChoice, *, near: bool) -> Iterator[Copy]:
    """Exact copies first, then near ones: across parts always, inside a part where the identities differ (exact only).

    Raises CommandError for items that the service would refuse, where they would train.
    """
    printed = [_print(name, items, modality) for name, items in parts.items()]
    known: set[tuple[str, int, str, int]] = set()
    for at, one in enumerate(printed):
        for other in printed[at:]:
            for a, b, same in exact_pairs(one.prints, other.prints):
                copy = _copy(one, a, other, b, same=same, likeness=1.0)
                if one is not other or (a < b and not copy.one_identity):
                    known.add((copy.part, copy.place, copy.other_part, copy.other_place))
                    yield copy
    for at, one in enumerate(printed if near else ()):
        for other in printed[at + 1 :]:
            for a, b, likeness in near_pairs(one.prints, other.prints, ALIKE[modality.name]):
                copy = _copy(one, a, other, b, same="near", likeness=likeness)
                if (copy.part, copy.place, copy.other_part, copy.other_place) not in known:
                    yield copy


@dataclass(frozen=True)
class _Printed:
    """The items of a part that can be prepared: their places in it, and their prints."""

    name: str
    items: LabelledItems
    places: Sequence[int]
    prints: Sequence[Print]


def _copy(one: _Printed, a: int, other: _Printed, b: int, *, same: str, likeness: float) -> Copy:
    place, other_place = one.places[a], other.places[b]
    one_identity = bool(one.items.identity[place] == other.items.identity[other_place])
    return Copy(one.name, place, other.name, other_place, same, likeness, one_identity)


def _print(part: str, items: LabelledItems, choice: ModalityChoice) -> _Printed:
    """The prints of a part. Raises CommandError for items that cannot be prepared, where they would train."""
    places, prints, refused = [], [], []
    modality = None if choice.name == "text" else modalities.create(choice.name, choice.params, {})
    for place in shown(range(len(items)), f"looking for copies: {part}"):
        item = items.items[place]
        try:
            prints.append(print_text(item) if modality is None else print_prepared(item, modality))
            places.append(place)
        except TwinserveError as error:
            refused.append(f"{items.name(place)}: {error.detail}")
    if refused and part in ("training", "validation"):
        for line in refused[1:PRINTED]:
            print(line)
        more = f"; {len(refused)} items of {part} cannot be used" if len(refused) > 1 else ""
        raise CommandError(f"{refused[0]}{more}")
    if refused:
        print(f"{len(refused)} items of {part} count as failures to acquire, the first: {refused[0]}")
    return _Printed(part, items, places, prints)


def _leaving(copies: Sequence[Copy]) -> dict[str, set[int]]:
    """Part -> places that leave it: of each copy the item of the earlier part, both where the identities differ."""
    leaving: dict[str, set[int]] = {}
    for copy in copies:
        leaving.setdefault(copy.part, set()).add(copy.place)
        if not copy.one_identity:
            leaving.setdefault(copy.other_part, set()).add(copy.other_place)
    return leaving


def _write_list(folder: Path, copies: Sequence[Copy], parts: Parts) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LIST).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(copy.row(parts) for copy in copies)
    return folder / LIST
