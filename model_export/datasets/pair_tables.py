"""A table of labelled pairs to learn from: what matches, directly or through others, is one identity.

A group is what labelled pairs of either label connect, so that both sides of a pair that does not match are in one part
and in one batch (see model_export/linked_batches.py). The labelled pairs themselves are what is measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from model_export.datasets import LabelledPairs
from model_export.datasets.item_files import FORM_OF, Items, digest_item
from model_export.datasets.listing import Listing, check_learnable
from model_export.errors import CommandError
from model_export.pairs import PairTable, describe_types, join_pairs
from model_export.recipe.own_data import PairsData


def read_labelled(beside: Path, data: PairsData, modality: str) -> Listing:
    """The distinct items of `data.table`, and its pairs. Raises CommandError for a table that nothing is learnt from.

    An identity, and a group, is called by the content of its first item in the table: rows added below change no name,
    unless they join two.
    """
    path = beside / data.table
    if not path.is_file():
        raise CommandError(f"{path}: no such file; data.table is looked for beside the recipe file")
    table = join_pairs(path, FORM_OF[modality], data.columns)
    if unknown := sorted(set(data.impostors) - set(table.types)):
        have = ", ".join(table.types) or "none"
        raise CommandError(f"data.impostors: {path} has no pairs of type {unknown[0]!r}; its types are {have}")
    items = table.items
    assert isinstance(items, Items)
    first_row = np.full(len(items), np.iinfo(np.int64).max)
    for side in (table.a, table.b):
        np.minimum.at(first_row, side, table.row)
    digests = []
    for item, row in zip(items, first_row.tolist(), strict=True):
        if "text" in item and not str(item["text"]).strip():
            raise CommandError(f"{path}: row {row}: a text is empty")
        digests.append(digest_item(item).hex()[:16])
    matching = _components(table, table.label)
    linked = _components(table, np.ones_like(table.label))
    identity = tuple(_first(matching, digests))
    check_learnable(identity, str(path))
    words = describe_types(table.types) | dict(data.impostors)
    return Listing(
        origin=str(path),
        items=items,
        names=tuple(f"row {row}" for row in first_row.tolist()),
        identity=identity,
        unit=tuple(table.unit_names[one] for one in table.unit_of_item.tolist()) if table.unit_names else None,
        group=tuple(_first(linked, digests)),
        source=None,
        split=None,
        pairs=LabelledPairs(table.a, table.b, table.label, table.kind, words),
    )


def _components(table: PairTable, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Which items the chosen pairs (pairs,) connect: numbers int64 (items,)."""
    ends = (table.a[chosen], table.b[chosen])
    graph = coo_array((np.ones(len(ends[0])), ends), (len(table.items), len(table.items)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _first(component: npt.NDArray[np.int64], digests: list[str]) -> list[str]:
    """For each item the digest of the first item of its component."""
    _, first, number = np.unique(component, return_index=True, return_inverse=True)
    return [digests[place] for place in first[number].tolist()]
