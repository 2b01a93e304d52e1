"""Which head: the one that tells validation items apart best, by the area under the ROC curve. Held-out items are not
looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.core.evidence.binning import Binned, bin_scores, choose_knots
from app.core.scoring import Metric
from model_export.adapting.frozen import Frozen
from model_export.adapting.heads import Head
from model_export.comparing import Scores, affordable, score_all_pairs
from model_export.datasets import LabelledItems
from model_export.figures import KNOTS, Bins, auc
from model_export.measure import quiet
from model_export.recipe import Calibration
from model_export.recipe.measuring import Measuring

MOST_ITEMS = 1500
"""Of more validation items a part is compared, drawn by the seed: a look then takes a second."""


def watched(items: LabelledItems, seed: int) -> LabelledItems:
    """The validation items, or so many of them as are looked at."""
    mask = np.zeros(len(items), np.bool_)
    mask[affordable(items, seed, quiet, most=MOST_ITEMS)] = True
    return items.select(mask)


@dataclass(frozen=True, eq=False)
class Validation:
    """Validation items, embedded, and how they are compared: against `impostor`, the type that the encoder as it is
    takes most often for a match.
    """

    frozen: Frozen
    metric: Metric
    chosen: Calibration
    seed: int
    impostor: str

    @classmethod
    def begin(cls, frozen: Frozen, metric: Metric, measuring: Measuring, bare: Head) -> Validation:
        """Of the types that occur among these items. Raises CommandError where nothing can be compared."""
        chosen = measuring.calibration
        if not _has_hard(frozen.items):
            chosen = chosen.model_copy(update={"hard": None, "grouped": "units"})
        pairs = frozen.items.pairs
        if pairs is not None:
            there = set(pairs.kind[~pairs.label].tolist())
            words = {kind: said for kind, said in pairs.words.items() if kind in there}
            frozen = replace(frozen, items=replace(frozen.items, pairs=replace(pairs, words=words)))
        first = cls(frozen, metric, chosen, measuring.seed, "")
        areas = first.areas(bare)
        return replace(first, impostor=min(areas, key=areas.__getitem__))

    def look(self, head: Head) -> float:
        """The area under the ROC curve after the head, against the hardest type."""
        return self.areas(head)[self.impostor]

    def areas(self, head: Head) -> Mapping[str, float]:
        """Impostor type -> area under the ROC curve."""
        rows = self.frozen.embedded(head)
        return _areas(score_all_pairs(rows, self.metric, self.chosen, seed=self.seed, tell=quiet))


def best_of(heads: Sequence[Head], validation: Validation) -> tuple[Head, float]:
    """The best head and its area; of equals the first."""
    areas = [validation.look(head) for head in heads]
    at = int(np.argmax(areas))
    return heads[at], areas[at]


def _has_hard(items: LabelledItems) -> bool:
    """Whether two units have items of one group, and there are several groups."""
    own = np.unique(np.stack([items.group, items.unit], axis=1), axis=0)[:, 0]
    counts = np.unique(own, return_counts=True)[1]
    return len(counts) > 1 and int(counts.max()) > 1


def _areas(scores: Scores) -> Mapping[str, float]:
    areas = {}
    for name, impostors in scores.impostors.items():
        knots = choose_knots(scores.genuine, {name: impostors}, KNOTS)
        sides = (_shares(bin_scores(one, knots)) for one in (scores.genuine, impostors))
        areas[name] = float(auc(*sides)[0])
    return areas


def _shares(binned: Binned) -> Bins:
    """Shares by bin, float64 (1, bins), every unit pair and every unit weighing the same."""
    shares: Bins = binned.weight @ binned.shares.astype(np.float64) / binned.weight.sum()
    return shares[np.newaxis]
