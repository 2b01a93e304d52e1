"""What is compared while items are worn: a part of a recipe's items, or of a table's pairs, so that a strength costs
seconds. Both are drawn by a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from app.core.modalities.base import Item
from app.core.scoring import Metric
from model_export.comparing import Mask, Scores, score_all_pairs
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.measure import Embedded, Embeddings, Vectors, quiet
from model_export.pairs import PairTable, score_pairs
from model_export.recipe import Recipe

MOST_UNITS, PER_UNIT_AND_GROUP, PER_IDENTITY = 60, 8, 4
"""Units that are drawn in all, of each group at least so many before the next group, and items of each identity."""
MOST_ITEMS, PER_UNIT = 480, 8
"""Beyond so many items each unit keeps whole identities, drawn, until they have so many."""
MOST_PAIRS = 300
"""Pairs of a table that are drawn of each kind."""


class Comparisons(Protocol):
    """Some items, and which of them are compared."""

    @property
    def items(self) -> Sequence[Item]:
        """The items, as they came."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    def score(self, kept: Mask, vectors: Vectors, others: Vectors, metric: Metric) -> Scores | None:
        """The comparisons of the items that are kept, bool (items,), by their vectors (kept, d): the first item of each
        pair has its row of `vectors`, the second one that of `others`. None where they leave no pair of some kind.
        """


@dataclass(frozen=True)
class RecipeComparisons:
    """Some of a recipe's items, all compared with all."""

    labelled: LabelledItems
    recipe: Recipe

    @classmethod
    def draw(cls, items: LabelledItems, recipe: Recipe) -> RecipeComparisons:
        """Of each group (in random order) some units until they are enough, and of these few items an identity."""
        generator = np.random.default_rng(recipe.seed)
        chosen: list[int] = []
        waiting = {
            group: generator.permutation(np.unique(items.unit[items.group == group])).tolist()
            for group in generator.permutation(np.unique(items.group)).tolist()
        }
        while any(waiting.values()) and len(chosen) < MOST_UNITS:
            for units in waiting.values():
                taken = min(PER_UNIT_AND_GROUP, MOST_UNITS - len(chosen))
                chosen += units[:taken]
                del units[:taken]
        mask = np.isin(items.unit, chosen)
        label = np.unique(np.stack([items.identity, items.unit]), axis=1, return_inverse=True)[1].ravel()
        for one in np.unique(label[mask]):
            places = generator.permutation(np.flatnonzero(label == one))
            mask[places[PER_IDENTITY:]] = False
        if mask.sum() > MOST_ITEMS:
            for one in np.unique(items.unit[mask]):
                _thin(mask, items, one, generator)
        return cls(items.select(mask), recipe)

    @property
    def items(self) -> Sequence[Item]:
        """The items, as they came."""
        return self.labelled.items

    @property
    def seed(self) -> int:
        """The recipe's."""
        return self.recipe.seed

    def score(self, kept: Mask, vectors: Vectors, others: Vectors, metric: Metric) -> Scores | None:
        """As the recipe's `calibration` says."""
        left = self.labelled.select(kept)
        embedded = Embedded(left, np.flatnonzero(kept), Embeddings(kept, vectors, None, None, {}))
        try:
            return score_all_pairs(embedded, metric, self.recipe.calibration, seed=self.seed, others=others, tell=quiet)
        except CommandError:  # no pair of some kind is left; what the recipe asks for was there when all was measured
            return None


def _thin(mask: Mask, items: LabelledItems, unit: int, generator: np.random.Generator) -> None:
    """Take all identities of a unit but the first few, drawn, out of the mask (items,)."""
    own, kept = mask & (items.unit == unit), 0
    for identity in generator.permutation(np.unique(items.identity[own])).tolist():
        places = own & (items.identity == identity)
        if kept >= PER_UNIT:
            mask[places] = False
        kept += int(places.sum())


@dataclass(frozen=True)
class PairComparisons:
    """Some of a table's pairs."""

    table: PairTable
    seed: int

    @classmethod
    def draw(cls, table: PairTable, seed: int) -> PairComparisons:
        """At most MOST_PAIRS of the matching pairs, and of each type of the others."""
        generator = np.random.default_rng(seed)
        kinds = [table.label, *(~table.label & (table.kind == name) for name in table.types)]
        drawn = [generator.permutation(np.flatnonzero(one))[:MOST_PAIRS] for one in kinds]
        return cls(table.select(np.sort(np.concatenate(drawn))), seed)

    @property
    def items(self) -> Sequence[Item]:
        """The items, as they came."""
        return self.table.items

    def score(self, kept: Mask, vectors: Vectors, others: Vectors, metric: Metric) -> Scores | None:
        """The pairs whose items are both kept."""
        rows = Embeddings(kept, vectors, None, None, {})
        try:
            return score_pairs(self.table, rows, metric, others=others, tell=quiet).scores
        except CommandError:  # pairs of one label are left
            return None
