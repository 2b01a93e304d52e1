"""A bundle and a floor beside it, on the same comparisons, and the tables in which both stand. Nothing is printed but
that a floor is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from model_export.calibration_loss import Loss, measure_losses
from model_export.card import Table
from model_export.cohorts import Cohort, measure_cohorts
from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.figures import Sampled, draw_samples
from model_export.floors import DEFAULTS, NONE
from model_export.floors.subject import Floor
from model_export.measure import Embedded, Embeddings, keep_labelled, quiet
from model_export.pairs import MeasuredPairs, PairTable, score_pairs
from model_export.recipe.measuring import Measuring
from model_export.retrieval import Retrieval, measure_retrieval
from model_export.subjects import Preparation, Subject
from model_export.tables import (
    LOSS_HEADING,
    ONE_SHOT_HEADING,
    Row,
    cohort_rows,
    failure_rows,
    few_shot_rows,
    loss_rows,
    one_shot_rows,
    retrieval_rows,
    side_by_side,
    verification_rows,
)

PAIR_DRAWS, PAIR_SEED = 1000, 0
"""Draws and seed of the bootstrap on a pair table, which names none."""
T = TypeVar("T")
FEW_COHORTS = 12
"""Cohorts that a card shows at most; a report shows all."""


@dataclass(frozen=True)
class Beside:
    """A subject, what became of the items, and its figures of the comparisons; `found` is None where nothing asks."""

    subject: Subject
    embedded: Embedded
    sampled: Sampled
    found: Retrieval | None


@dataclass(frozen=True)
class BesidePairs:
    """A subject, what became of the items of a table, and its scores and figures of the labelled pairs."""

    subject: Subject
    rows: Embeddings
    measured: MeasuredPairs
    sampled: Sampled


def measured_items(splits: Splits) -> LabelledItems:
    """The items that are measured: of the test identities, or of the one held-out pool."""
    return splits.calibration if splits.test is None else splits.test


def default_point(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The default operating point among those of a bundle or service."""
    return next((point for point in points if point["default"]), None)


def threshold_of(point: Mapping[str, Any] | None) -> float | None:
    """The threshold of a point; None without one."""
    return None if point is None else float(point["threshold"])


def beside_recipe(
    subject: Subject,
    embedded: Embedded,
    sampled: Sampled,
    recipe: Measuring,
    splits: Splits,
    *,
    floor: str | None = None,
) -> list[Beside]:
    """The subject, and the floor on the same items, by name, NONE for none, None for the recipe's or the modality's.

    Raises CommandError for a floor that was asked for and cannot be measured.
    """
    chosen, seed = recipe.calibration, recipe.seed

    def found(metric_of: Subject, rows: Embedded) -> Retrieval | None:
        grouped = sampled.scores.units.group is not None
        return measure_retrieval(rows, metric_of.metric, grouped=grouped, draws=chosen.draws, seed=seed)

    def measure(other: Subject) -> Beside:
        items = measured_items(splits)
        rows = keep_labelled(items, other.embed(items.items), tell=False)
        scores = score_all_pairs(rows, other.metric, chosen, seed=seed, tell=quiet)
        return Beside(other, rows, draw_samples(scores, draws=chosen.draws, seed=seed), found(other, rows))

    own = Beside(subject, embedded, sampled, found(subject, embedded))
    return [own, *_measure_floor(floor or chosen.floor, subject.preparation, measure)]


def beside_pairs(subject: Subject, table: PairTable, floor: str | None = None) -> list[BesidePairs]:
    """The same on labelled pairs, the floor by the subject's modality where None."""

    def measure(other: Subject) -> BesidePairs:
        rows = other.embed(table.items)
        measured = score_pairs(table, rows, other.metric, tell=print if other is subject else quiet)
        drawn = draw_samples(measured.scores, draws=PAIR_DRAWS, seed=PAIR_SEED)
        return BesidePairs(other, rows, measured, drawn)

    return [measure(subject), *_measure_floor(floor, subject.preparation, measure)]


def make_floor(name: str | None, preparation: Preparation) -> Floor | None:
    """The floor of that name, by the modality where None; None for NONE, or a modality without one."""
    name = name or DEFAULTS.get(preparation.name, NONE)
    return None if name == NONE else Floor(name, preparation)


def recipe_tables(
    sides: Sequence[Beside], splits: Splits, recipe: Measuring, point: Mapping[str, Any] | None
) -> tuple[list[Table], list[Cohort]]:
    """What a card tells of a recipe's population: failure to acquire, verification, retrieval, N-way K-shot, the
    official one-shot score where its data has runs, and cohorts where they are few; and the cohorts of the subject.

    point: the default operating point.
    """
    draws, seed = recipe.calibration.draws, recipe.seed
    who = "held-out units" if splits.test is None else "test identities"
    keys = {one.subject.key: one for one in sides}
    tables = [
        side_by_side(f"Verification on {who}", {k: verification_rows(one.sampled) for k, one in keys.items()}),
        failure_table(
            {k: one.embedded.rows.failure_to_acquire for k, one in keys.items()}, len(measured_items(splits))
        ),
    ]
    found = {key: one.found for key, one in keys.items() if one.found is not None}
    if found:
        tables.append(side_by_side(f"Retrieval among {who}", {k: retrieval_rows(one) for k, one in found.items()}))
        within = "of one group" if len(np.unique(sides[0].embedded.items.group)) > 1 else "of all"
        heading = f"N-way K-shot among {who}, the N {within}"
        tables.append(side_by_side(heading, {k: few_shot_rows(one) for k, one in found.items()}))
    if splits.runs:
        runs: dict[str, Sequence[Row]] = {
            key: one_shot_rows(one.subject, splits.runs, draws=draws, seed=seed) for key, one in keys.items()
        }
        tables.append(side_by_side(ONE_SHOT_HEADING, runs))
    heading, rows, cohorts = cohort_table(sides, point, draws=draws, seed=seed)
    if 0 < len(cohorts) <= FEW_COHORTS:
        tables.append((heading, rows))
    return tables, cohorts


def pair_tables(sides: Sequence[BesidePairs], table: PairTable, losses: Mapping[str, Loss]) -> list[Table]:
    """What a card tells of labelled pairs: verification, failure to acquire, and what the subject's ratios lose."""
    keys = {one.subject.key: one for one in sides}
    rows = {key: verification_rows(one.sampled) for key, one in keys.items()}
    return [
        side_by_side("Verification on the labelled pairs", rows),
        failure_table({key: one.rows.failure_to_acquire for key, one in keys.items()}, len(table.items)),
        losses_table(losses, sides, PAIR_SEED),
    ]


def cohort_table(
    sides: Sequence[Beside], point: Mapping[str, Any] | None, *, draws: int, seed: int
) -> tuple[str, Sequence[Row], list[Cohort]]:
    """The table of all cohorts, and those of the subject; only the subject has a threshold.

    Raises CommandError where the items of a unit are of two cohorts.
    """
    cohorts = {}
    for one in sides:
        threshold = threshold_of(point) if one is sides[0] else None
        try:
            own = measure_cohorts(one.sampled.scores, one.embedded.items, threshold, draws=draws, seed=seed)
        except ValueError as error:
            raise CommandError(str(error)) from error
        cohorts[one.subject.key] = own
    heading, rows = side_by_side("Cohorts", {key: cohort_rows(own, point) for key, own in cohorts.items()})
    return heading, rows, cohorts[sides[0].subject.key]


def failure_table(refused: Mapping[str, Mapping[str, float]], items: int) -> Table:
    """What the service would refuse, by subject: counted apart, since no score is ever given for such an item."""
    return side_by_side("Failure to acquire", {key: failure_rows(shares, items) for key, shares in refused.items()})


def losses_table(losses: Mapping[str, Loss], sides: Sequence[Beside | BesidePairs], seed: int) -> Table:
    """What the subject's ratio loses, and beside it minCllr of the floors, which have no ratio."""
    of = {one.subject.key: measure_losses(None, one.sampled, seed=seed) for one in sides[1:]}
    return side_by_side(
        LOSS_HEADING, {sides[0].subject.key: loss_rows(losses), **{k: loss_rows(one) for k, one in of.items()}}
    )


def _measure_floor(named: str | None, preparation: Preparation, measure: Callable[[Subject], T]) -> list[T]:
    """A floor that was asked for and fails is an error; one that nobody named is missed aloud."""
    try:
        floor = make_floor(named, preparation)
        return [] if floor is None else [measure(floor)]
    except CommandError as error:
        if named is not None:
            raise
        print(f"no floor stands beside the figures: {error}; --floor names another")
        return []
