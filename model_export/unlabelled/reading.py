"""A collection of items that nobody labelled: a folder of files at any depth, or a table with a row an item."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from model_export.datasets.folders import find_files
from model_export.datasets.item_files import FORM_OF, read_item
from model_export.datasets.item_tables import find_rows
from model_export.datasets.listing import Found, Listing, list_items
from model_export.errors import CommandError

FEWEST = 10
"""Items below which a pair says nothing: 9 have the 36 pairs that an FMR of 1e-1 takes."""


def read_collection(path: Path, modality: str) -> Listing:
    """The items of a folder, whose own folders mean nothing here, or of a table; see datasets/item_tables.py.

    A column `unit` says whose items they are; where there is none, a column `identity` does. Items of equal content
    (and unit) count once. Raises CommandError for what cannot be read, and for fewer than FEWEST items.
    """
    found = _files(path, modality) if path.is_dir() else find_rows(path, FORM_OF[modality], {}, named=False)
    listing = list_items(found, str(path), labelled=False)
    if len(listing.items) < FEWEST:
        raise CommandError(f"{path}: {len(listing.items)} items are too few; {FEWEST} are needed at least")
    return listing


def _files(root: Path, modality: str) -> Iterator[Found]:
    for path in find_files(root, modality):
        yield Found(str(path.relative_to(root)), partial(read_item, path, FORM_OF[modality]))


def units_of(listing: Listing) -> tuple[str, ...] | None:
    """Whose each item is, (items,): by its unit, else by its identity; None where the data says neither."""
    if listing.unit is not None:
        return listing.unit
    return listing.identity if all(listing.identity) else None
