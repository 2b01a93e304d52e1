"""`one-shot [BUNDLE ...] [--floor NAME ...] --recipe RECIPE`: is the nearest of 20 references the right one?

Trials are made within every measured group, for every ordered pair of sources: for drawn characters within each
alphabet, each person's drawings against each other person's, 20 characters at random. Where a set has official runs of
few trials, their score stands beside; its bounds say how little those few trials tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_export.card import markdown_table, show
from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.oneshot import Hits, hits_by_group, mean_over_groups
from model_export.populations import read_splits
from model_export.recipe import Recipe
from model_export.subjects import Subject
from model_export.tables import official_hits

HEADER = ("", "groups", "trials", "right, mean over groups", "lowest group", "official trials", "right")


def compare_one_shot(subjects: Sequence[Subject], recipe: Recipe) -> None:
    """Print the table. Raises CommandError where fewer than two groups have trials, or an item is refused."""
    splits = read_splits(recipe)
    draws, seed = recipe.calibration.draws, recipe.seed
    rows: list[tuple[str, ...]] = [HEADER]
    for subject in subjects:
        hits = measured_hits(subject, splits)
        if len(hits) < 2:
            raise CommandError(f"{recipe.name}: one-shot trials need two groups whose sources share identities")
        rate = mean_over_groups(hits, _identities(splits), draws=draws, seed=seed)
        lowest = min(hits, key=lambda name: hits[name].mean())
        official = official_hits(subject, splits.runs) if splits.runs else np.zeros((0, 0), np.bool_)
        rows.append(
            (
                subject.key,
                str(len(hits)),
                str(sum(len(one) for one in hits.values())),
                show(rate),
                f"{hits[lowest].mean():.3g} ({lowest})",
                str(official.size) if official.size else "none",
                f"{official.sum()} ({official.mean():.2%})" if official.size else "",
            )
        )
    print("\n".join(["", *markdown_table(rows)]))


def measured_hits(subject: Subject, splits: Splits) -> dict[str, Hits]:
    """Group name -> bool (trials,), of all items that did not train or watch. Raises CommandError for a refused one."""
    hits: dict[str, Hits] = {}
    for items in (splits.calibration, splits.test):
        if items is None:
            continue
        found = subject.embed(items.items)
        if not found.kept.all():
            raise CommandError(f"{subject.key} refuses an item, so that the trials cannot be made")
        hits |= hits_by_group(found.vectors, items, metric=subject.metric)
    return hits


def _identities(splits: Splits) -> int:
    return sum(len(np.unique(one.identity)) for one in (splits.calibration, splits.test) if one is not None)
