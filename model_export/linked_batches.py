"""Batches of labelled pairs: whole groups that the labels connect, so that both sides of a pair are in one batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from model_export import recipe
from model_export.datasets import LabelledItems

Places = npt.NDArray[np.int64]


def linked_batches(items: LabelledItems, choice: recipe.Sampler, generator: np.random.Generator) -> Iterator[Places]:
    """Yield places, int64 (at most classes * per_class,): groups in drawn order, each with all its identities, until
    `classes` identities are in; `per_class` items of each, drawn with return where it has fewer.

    A group of more than `classes` identities gives as many of them, drawn. A pass goes through all groups that hold
    a pair that does not match.
    """
    of_identity = dict(_places_by(items.identity))
    members = [np.unique(items.identity[places]) for _, places in _places_by(items.group)]
    groups = [one for one in members if len(one) > 1] or members
    while True:
        waiting: list[int] = []
        for at in generator.permutation(len(groups)).tolist():
            waiting += generator.permutation(groups[at])[: choice.classes].tolist()
            if len(waiting) >= choice.classes:
                yield _items_of(waiting[: choice.classes], of_identity, choice.per_class, generator)
                waiting = []
        if len(waiting) > 1:
            yield _items_of(waiting, of_identity, choice.per_class, generator)


def _places_by(number: Places) -> Iterator[tuple[int, Places]]:
    """Every number that occurs in int64 (items,), with the places where it does."""
    order = np.argsort(number, kind="stable")
    names, starts = np.unique(number[order], return_index=True)
    yield from zip(names.tolist(), np.split(order, starts[1:]), strict=True)


def _items_of(
    identities: list[int], of_identity: dict[int, Places], per_class: int, generator: np.random.Generator
) -> Places:
    drawn = [
        generator.choice(of_identity[one], per_class, replace=len(of_identity[one]) < per_class) for one in identities
    ]
    return np.concatenate(drawn)
