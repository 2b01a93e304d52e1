"""`nearest [BUNDLE ...] [--floor NAME ...] --recipe RECIPE`: 1-nearest-neighbour accuracy by set, on official parts.

A series of the test part takes the class of the training series that is most like it; of several that are equally
like it, of the first. The recipe's data must come in official parts, each class in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.core.scoring import similarity_matrix
from model_export.card import markdown_table
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import Recipe
from model_export.subjects import Subject


def compare_nearest(subjects: Sequence[Subject], recipe: Recipe) -> None:
    """Print a table with a row a set. Raises CommandError for data whose measured classes did not train."""
    splits = read_splits(recipe)
    training, test = splits.training, splits.calibration
    if not np.isin(test.identity, training.identity).all():
        raise CommandError("the recipe measures classes that did not train; it needs the official parts: held_out = 0")
    rows: list[tuple[str, ...]] = [("set", "training", "test", "classes", *(one.key for one in subjects))]
    for group, name in enumerate(training.group_names):
        own, asked = training.select(training.group == group), test.select(test.group == group)
        counts = (len(own), len(asked), len(np.unique(own.identity)))
        accuracies = (nearest_accuracy(subject, own, asked) for subject in subjects)
        rows.append((name, *map(str, counts), *(f"{accuracy:.4f}" for accuracy in accuracies)))
    print("\n".join(markdown_table(rows)))


def nearest_accuracy(subject: Subject, training: LabelledItems, test: LabelledItems) -> float:
    """Share of the test items whose nearest training item has their identity.

    Both parts are embedded in one call, since a floor's rows are comparable only then. Raises CommandError where an
    item is refused.
    """
    embeddings = subject.embed([*training.items, *test.items])
    if not embeddings.kept.all():
        raise CommandError("an item is refused, so that the accuracy would be of fewer items than the protocol's")
    rows, count = embeddings.vectors, len(training)
    nearest = similarity_matrix(rows[count:], rows[:count], subject.metric).argmax(axis=1)
    return float((training.identity[nearest] == test.identity).mean())
