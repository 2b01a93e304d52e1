"""What a precision is measured on: the population of a recipe, or a table of labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from app.core.modalities.base import Item
from app.runtime.encoder import Encoder
from model_export.beside import PAIR_DRAWS, PAIR_SEED
from model_export.calibrate import calibrate_pairs, calibrate_recipe
from model_export.comparing import Scores, score_all_pairs
from model_export.errors import CommandError
from model_export.measure import embed_all, keep_labelled
from model_export.pairs import Words, read_pairs, score_pairs
from model_export.populations import read_splits
from model_export.recipe import read_recipe

RANGE_ITEMS = 200
"""Items that show the ranges of activations; from 100 to 300 of glyphs the vectors changed in the fourth digit."""


class Measured(Protocol):
    """Items to judge a precision by, and the evidence on it."""

    draws: int
    seed: int

    def range_items(self) -> Sequence[Item]:
        """At most RANGE_ITEMS items that show the ranges of activations, drawn by the seed."""

    def score(self, encoder: Encoder) -> Scores:
        """The comparisons by which precisions are judged. Raises CommandError where there are none."""

    def calibrate(self, folder: Path, models: Path) -> Path:
        """Write the bundle in `folder` with evidence below `models`; returns its folder. Errors as in calibrate."""


class MeasuredRecipe:
    """A recipe's held-out identities; ranges are of its training items."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._recipe = read_recipe(path)
        self._splits = read_splits(self._recipe)
        if self._splits.units_train:
            raise CommandError("the measured units of this recipe did train, so that they cannot judge a precision")
        self.draws, self.seed = self._recipe.calibration.draws, self._recipe.seed

    def range_items(self) -> Sequence[Item]:
        """Of the training split, which is never measured."""
        return _draw(self._splits.training.items, self.seed)

    def score(self, encoder: Encoder) -> Scores:
        """All pairs of the test identities, or of the one held-out pool."""
        items = self._splits.calibration if self._splits.test is None else self._splits.test
        embedded = keep_labelled(items, embed_all(encoder, items.items))
        metric = encoder.bundle.manifest.embedding.metric
        return score_all_pairs(embedded, metric, self._recipe.calibration, seed=self.seed)

    def calibrate(self, folder: Path, models: Path) -> Path:
        """By the recipe."""
        return calibrate_recipe(folder, self._path, models)


class MeasuredPairs:
    """A table of labelled pairs. Ranges are of its own items, whose labels are not looked at."""

    draws, seed = PAIR_DRAWS, PAIR_SEED

    def __init__(self, path: Path, form: str, words: Words) -> None:
        self._path, self._words = path, words
        self._table = read_pairs(path, form)

    def range_items(self) -> Sequence[Item]:
        """Of the table, which has no other items to give: the least and the largest activation of each layer."""
        return _draw(self._table.items, self.seed)

    def score(self, encoder: Encoder) -> Scores:
        """The labelled pairs."""
        return score_pairs(
            self._table, embed_all(encoder, self._table.items), encoder.bundle.manifest.embedding.metric
        ).scores

    def calibrate(self, folder: Path, models: Path) -> Path:
        """By the table."""
        return calibrate_pairs(folder, self._path, models, self._words)


def _draw(items: Sequence[Item], seed: int) -> list[Item]:
    places = np.sort(np.random.default_rng(seed).permutation(len(items))[:RANGE_ITEMS])
    return [items[place] for place in places.tolist()]
