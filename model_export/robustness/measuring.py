"""Robustness curves: AUC, EER, verdicts that flip and items that are refused, as one side of every pair is worn.

The first item of a pair is as it came, the second one changed, as a stored reference and a worse probe are. Pairs and
units are those of the unchanged items, of which a part is drawn, so that each strength costs seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.core.evidence import GenuineScores, PairScores, Rate
from app.core.evidence.binning import weights_by_unit
from model_export.comparing import Scores, score_all_pairs
from model_export.datasets import LabelledItems
from model_export.figures import draw_samples, headline_of
from model_export.measure import Embedded, Embeddings, shown
from model_export.recipe import Recipe
from model_export.robustness import Change, changes_of
from model_export.subjects import Subject

MOST_UNITS, PER_UNIT_AND_GROUP, PER_IDENTITY = 60, 8, 4
"""Units that are drawn in all, of each group at least so many before the next group, and items of each identity."""
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
    subject: Subject, embedded: Embedded, recipe: Recipe, impostor: str, threshold: float | None
) -> list[Worn]:
    """Every change of the subject's modality at every strength, against one impostor type.

    `embedded`: the measured items, of which some are drawn by the recipe's seed; threshold: of the default operating
    point. The item as it came stands first of each change.
    """
    items = embedded.items.select(_some(embedded.items, recipe.seed))
    wear = _Wear(subject, items, recipe, impostor, threshold)
    steps = [(change, strength) for change in changes_of(subject.preparation.name) for strength in change.strengths]
    result: list[Worn] = []
    for change, strength in shown(steps, "robustness"):
        result += wear.measure(change, strength, also_clean=strength == change.strengths[0])
    return result


def _some(items: LabelledItems, seed: int) -> npt.NDArray[np.bool_]:
    """Which items are worn: of each group (in random order) some units until they are enough, and of these few items
    an identity.
    """
    generator = np.random.default_rng(seed)
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
    return mask


@dataclass(frozen=True)
class _Wear:
    """What is worn, and how it is measured."""

    subject: Subject
    items: LabelledItems
    recipe: Recipe
    impostor: str
    threshold: float | None

    def measure(self, change: Change, strength: float, *, also_clean: bool) -> list[Worn]:
        """The changed items and, where asked for, before them the unchanged ones that they are compared with."""
        items, seed = self.items, self.recipe.seed
        changed = [
            change.apply(item, strength, np.random.default_rng([seed, place])) for place, item in enumerate(items.items)
        ]
        # in one call: rows of a floor are comparable within one only
        rows = self.subject.embed([*items.items, *changed])
        count = len(items)
        both = rows.kept[:count] & rows.kept[count:]
        refused = float(1 - both.sum() / max(1, rows.kept[:count].sum()))
        left = items.select(both)
        if both.sum() < LEAST or len(np.unique(left.unit)) < 2 or not _has_pairs(left, self.recipe):
            clean_too = [Worn(change.name, change.unit, None, 0.0)] if also_clean else []
            return [*clean_too, Worn(change.name, change.unit, strength, refused)]
        clean, worn = (_rows(rows, both, side) for side in (0, 1))
        embedded = Embedded(left, np.flatnonzero(both), Embeddings(both, clean, None, None, {}))
        chosen, metric = self.recipe.calibration, self.subject.metric
        before, after = (
            score_all_pairs(embedded, metric, chosen, seed=seed, others=others, tell=_quiet) for others in (None, worn)
        )
        measured = [self._figures(Worn(change.name, change.unit, strength, refused), before, after)]
        if also_clean:
            measured.insert(0, self._figures(Worn(change.name, change.unit, None, 0.0), before, before))
        return measured

    def _figures(self, worn: Worn, before: Scores, after: Scores) -> Worn:
        """The same with the figures of `after`, and the verdicts that are others than before."""
        name = self.impostor
        only = Scores(after.units, after.genuine, {name: after.impostors[name]})
        auc, eer = headline_of(draw_samples(only, draws=DRAWS, seed=self.recipe.seed), name)
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


def _rows(rows: Embeddings, both: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.float32]:
    """The vectors of the items that were taken both ways: as they came (side 0) or changed (side 1)."""
    place = np.cumsum(rows.kept) - 1
    vectors: npt.NDArray[np.float32] = rows.vectors[place[side * len(both) + np.flatnonzero(both)]]
    return vectors


def _has_pairs(items: LabelledItems, recipe: Recipe) -> bool:
    """Whether what was not refused still has a genuine pair, and an impostor one of every type."""
    genuine = len(np.unique(items.identity)) < len(items)
    if recipe.calibration.hard is None:
        return genuine
    groups = np.unique(np.stack([items.group, items.unit]), axis=1)[0]  # of each unit
    return genuine and 1 < len(np.unique(groups)) < len(groups)


def _quiet(_: str) -> None:
    """What is left out was told when everything was measured."""
