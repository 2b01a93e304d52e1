"""Robustness curves: AUC, EER, verdicts that flip and items that are refused, as one side of every pair is worn.

The first item of a pair is as it came, the second one changed, as a stored reference and a worse probe are. Pairs and
units are those of the unchanged items.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from app.core.evidence import GenuineScores, PairScores, Rate
from app.core.evidence.binning import weights_by_unit
from model_export.comparing import Mask, Scores
from model_export.errors import CommandError
from model_export.figures import draw_samples, headline_of
from model_export.measure import Embeddings, Vectors, shown
from model_export.robustness import Change, changes_of
from model_export.robustness.comparisons import Comparisons
from model_export.subjects import Subject

DRAWS = 1000
LEAST = 12
"""Items that must be left of those that are changed, else their figures are not told."""


@dataclass(frozen=True)
class Worn:
    """One strength of one change; strength None is the item as it came.

    refused: share of items that the service took unchanged and refuses changed. The figures are None where too few are
    left; flipped genuine and impostor pairs, shares that weigh every unit the same, also without a threshold.
    """

    change: str
    unit: str
    strength: float | None
    refused: float
    auc: Rate | None = None
    eer: Rate | None = None
    genuine_flipped: float | None = None
    impostor_flipped: float | None = None


def measure_robustness(
    subject: Subject, comparisons: Comparisons, impostor: str, threshold: float | None
) -> list[Worn]:
    """Every change of the subject's modality at every strength, against one impostor type.

    threshold: of the default operating point. The items as they came stand first of each change.
    """
    wear = _Wear(subject, comparisons, impostor, threshold)
    steps = [(change, strength) for change in changes_of(subject.preparation.name) for strength in change.strengths]
    result: list[Worn] = []
    for change, strength in shown(steps, "robustness"):
        result += wear.measure(change, strength, also_clean=strength == change.strengths[0])
    return result


@dataclass(frozen=True)
class _Wear:
    """What is worn, and how it is measured."""

    subject: Subject
    comparisons: Comparisons
    impostor: str
    threshold: float | None

    def measure(self, change: Change, strength: float, *, also_clean: bool) -> list[Worn]:
        """The changed items and, where asked for, before them the unchanged ones that they are compared with."""
        items, seed = self.comparisons.items, self.comparisons.seed
        changed = [
            change.apply(item, strength, np.random.default_rng([seed, place])) for place, item in enumerate(items)
        ]
        # in one call: rows of a floor are comparable within one only
        rows = self.subject.embed([*items, *changed])
        count = len(items)
        both = rows.kept[:count] & rows.kept[count:]
        clean, worn = Worn(change.name, change.unit, None, 0.0), Worn(change.name, change.unit, strength, 0.0)
        worn = replace(worn, refused=float(1 - both.sum() / max(1, rows.kept[:count].sum())))
        before, after = (self._score(both, rows, side) for side in (0, 1))
        if before is not None and after is not None:
            clean, worn = self._figures(clean, before, before), self._figures(worn, before, after)
        return [clean, worn] if also_clean else [worn]

    def _score(self, both: Mask, rows: Embeddings, side: int) -> Scores | None:
        """The scores of the items that were taken both ways, the second of each pair as it came (side 0) or changed."""
        if both.sum() < LEAST:
            return None
        vectors, others = (_rows(rows, both, one) for one in (0, side))
        scores = self.comparisons.score(both, vectors, others, self.subject.metric)
        return None if scores is None or self.impostor not in scores.impostors else scores

    def _figures(self, worn: Worn, before: Scores, after: Scores) -> Worn:
        """The same with the figures of `after`, and the verdicts that are others than before."""
        name = self.impostor
        only = Scores(after.units, after.genuine, {name: after.impostors[name]})
        try:
            auc, eer = headline_of(draw_samples(only, draws=DRAWS, seed=self.comparisons.seed), name)
        except CommandError:  # what is left is of too few units to draw from
            return worn
        worn = replace(worn, auc=auc, eer=eer)
        if self.threshold is None:
            return worn
        return replace(
            worn,
            genuine_flipped=_flipped(before.genuine, after.genuine, self.threshold),
            impostor_flipped=_flipped(before.impostors[name], after.impostors[name], self.threshold),
        )


def _flipped(before: GenuineScores | PairScores, after: GenuineScores | PairScores, threshold: float) -> float:
    """The share of pairs whose verdict at the threshold is another one now; every unit (pair) weighs the same."""
    level = np.float32(threshold)
    return float(weights_by_unit(before) @ ((before.score >= level) != (after.score >= level)))


def _rows(rows: Embeddings, both: Mask, side: int) -> Vectors:
    """The vectors of the items that were taken both ways: as they came (side 0) or changed (side 1)."""
    place = np.cumsum(rows.kept) - 1
    vectors: Vectors = rows.vectors[place[side * len(both) + np.flatnonzero(both)]]
    return vectors
