"""`evaluate (BUNDLE | --url URL --model NAME) (--recipe RECIPE | --pairs FILE)`: print and draw what an encoder does.

A bundle is embedded through the code that serves; a running service is asked over HTTP. Nothing is changed. A floor,
which learns nothing, is measured on the same items beside it. docs/evaluating.md says what each figure means.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from app.core.evidence import Calibration
from app.core.modalities.base import Item
from model_export.calibration_loss import Loss, measure_losses
from model_export.card import Table, markdown_table, point_rows
from model_export.cohorts import Cohort, measure_cohorts
from model_export.comparing import Scores, score_all_pairs
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.figures import Sampled, draw_samples
from model_export.floors import DEFAULTS, NONE
from model_export.floors.subject import Floor
from model_export.measure import Embedded, keep_labelled, largest_difference, sample_for_band
from model_export.pairs import PairTable, read_pairs, score_pairs
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.report import write_report
from model_export.retrieval import Retrieval, measure_retrieval
from model_export.robustness.measuring import Worn, measure_robustness
from model_export.showing import Lookup, show_hardest
from model_export.subjects import LocalSubject, Preparation, Subject
from model_export.tables import (
    KEPT,
    ONE_SHOT_HEADING,
    Row,
    accuracy_table,
    batch_table,
    claims_table,
    cohort_table,
    few_shot_rows,
    loss_table,
    one_shot_rows,
    retrieval_rows,
    robustness_rows,
    side_by_side,
    verification_rows,
)

PAIR_DRAWS, PAIR_SEED = 1000, 0
"""Draws and seed of the bootstrap on a pair table, which names none."""
BATCH_ITEMS = 100
FEW_COHORTS = 12
"""Cohorts that a card shows at most; a report shows all."""


@dataclass(frozen=True)
class Beside:
    """One subject, and its figures of the same comparisons."""

    subject: Subject
    embedded: Embedded
    sampled: Sampled
    found: Retrieval | None


def evaluate_recipe(subject: Subject, recipe_path: Path, out: Path | None, floor: str | None = None) -> None:
    """Measure on the recipe's test identities, or on its one held-out pool; print tables, write a report to `out`.

    floor: by name, NONE for none, None for the recipe's. Raises CommandError for a recipe or data that cannot be used.
    """
    recipe = read_recipe(recipe_path)
    splits = read_splits(recipe)
    items = _measured(splits)
    draws, seed = recipe.calibration.draws, recipe.seed
    embedded = keep_labelled(items, subject.embed(items.items))
    sampled = draw_samples(
        score_all_pairs(embedded, subject.metric, recipe.calibration, seed=seed), draws=draws, seed=seed
    )
    sides = _sides(subject, embedded, sampled, recipe, splits, floor=floor)
    point = default_point(subject.points)
    tables, cohorts = _recipe_tables(sides, splits, recipe, point)
    losses = _recipe_losses(subject, sampled, splits, recipe)
    curves = _curves(sides, recipe, point)
    tables.append(loss_table(losses))
    if cohorts and len(cohorts) > FEW_COHORTS:
        tables.append(cohort_table(cohorts, point))
    if any(curves.values()):
        table = side_by_side(
            _robustness_heading(sampled, point), {k: robustness_rows(one) for k, one in curves.items()}
        )
        tables.append(table)
    tables += _batch_tables(subject, embedded, seed)
    if subject.points:
        heading, rows = claims_table(subject.points, sampled.scores, draws=draws, seed=seed)
        if splits.test is None:
            heading += " (a bundle that this recipe calibrated chose its thresholds on the same items)"
        tables.append((heading, rows))
    lookup = _by_place(items.items)
    _show(subject, tables, sampled, out, losses=losses, curves=curves, lookup=lookup)


def evaluate_pairs(subject: Subject, path: Path, out: Path | None, floor: str | None = None) -> None:
    """Measure on labelled pairs; print tables, write a report to `out`.

    floor: as above, by the subject's modality where None. Raises CommandError for a table that cannot be used.
    """
    table = read_pairs(path, subject.form)
    measured = score_pairs(table, subject.embed(table.items), subject.metric)
    sampled = draw_samples(measured.scores, draws=PAIR_DRAWS, seed=PAIR_SEED)
    rows = {subject.key: verification_rows(sampled)}
    if (beside := make_floor(floor, subject.preparation)) is not None:
        try:
            other = score_pairs(table, beside.embed(table.items), beside.metric).scores
            rows[beside.key] = verification_rows(draw_samples(other, draws=PAIR_DRAWS, seed=PAIR_SEED))
        except CommandError as error:
            _no_floor(floor, error)
    tables = [side_by_side("Verification on the labelled pairs", rows)]
    losses = measure_losses(subject.calibration, sampled, seed=PAIR_SEED)
    tables.append(loss_table(losses))
    if subject.points:
        tables.append(claims_table(subject.points, measured.scores, draws=PAIR_DRAWS, seed=PAIR_SEED))
    tables += [accuracy_table(point, measured.score, measured.label) for point in subject.points if point["default"]]
    _show(subject, tables, sampled, out, losses=losses, lookup=_by_row(table))


def recipe_tables(
    subject: Subject,
    scores: Scores,
    splits: Splits,
    recipe: Recipe,
    *,
    embedded: Embedded | None = None,
    sampled: Sampled | None = None,
    point: Mapping[str, Any] | None = None,
) -> list[Table]:
    """What a card tells of a recipe's population, beside the recipe's floor: verification, retrieval, N-way K-shot,
    cohorts where they are few, and the official one-shot score where its data has runs.

    embedded, sampled: what the scores were made from, and their draws, where they are there already; point: the default
    operating point, the subject's own where None.
    """
    items = _measured(splits)
    embedded = embedded or keep_labelled(items, subject.embed(items.items))
    sampled = sampled or draw_samples(scores, draws=recipe.calibration.draws, seed=recipe.seed)
    sides = _sides(subject, embedded, sampled, recipe, splits, floor=None)
    return _recipe_tables(sides, splits, recipe, point or default_point(subject.points))[0]


def default_point(points: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The default operating point among those of a bundle or service."""
    return next((point for point in points if point["default"]), None)


def make_floor(name: str | None, preparation: Preparation) -> Floor | None:
    """The floor of that name, by the modality where None; None for NONE, or a modality without one."""
    name = name or DEFAULTS.get(preparation.name, NONE)
    return None if name == NONE else Floor(name, preparation)


def hardest_shown(subject: Subject, items: LabelledItems, sampled: Sampled, point: Mapping[str, Any] | None) -> str:
    """The hardest pairs of a recipe's items as HTML, for a report that may show items."""
    threshold = None if point is None else float(point["threshold"])
    return show_hardest(subject.preparation.name, sampled.scores.hardest, _by_place(items.items), threshold)


def _measured(splits: Splits) -> LabelledItems:
    return splits.calibration if splits.test is None else splits.test


def _sides(
    subject: Subject, embedded: Embedded, sampled: Sampled, recipe: Recipe, splits: Splits, *, floor: str | None
) -> list[Beside]:
    """The subject, and the floor on the same items."""
    chosen, seed = recipe.calibration, recipe.seed

    def found(metric_of: Subject, rows: Embedded) -> Retrieval | None:
        grouped = sampled.scores.units.group is not None
        return measure_retrieval(rows, metric_of.metric, grouped=grouped, draws=chosen.draws, seed=seed)

    sides = [Beside(subject, embedded, sampled, found(subject, embedded))]
    named = floor or chosen.floor
    if (beside := make_floor(named, subject.preparation)) is not None:
        items = _measured(splits)
        try:
            rows = keep_labelled(items, beside.embed(items.items), tell=False)
            other = score_all_pairs(rows, beside.metric, chosen, seed=seed, tell=lambda _: None)
        except CommandError as error:
            _no_floor(named, error)
        else:
            drawn = draw_samples(other, draws=chosen.draws, seed=seed)
            sides.append(Beside(beside, rows, drawn, found(beside, rows)))
    return sides


def _no_floor(named: str | None, error: CommandError) -> None:
    """A floor that was asked for and fails is an error; one that nobody named is missed aloud."""
    if named is not None:
        raise error
    print(f"no floor stands beside the figures: {error}; --floor names another")


def _recipe_tables(
    sides: Sequence[Beside], splits: Splits, recipe: Recipe, point: Mapping[str, Any] | None
) -> tuple[list[Table], list[Cohort]]:
    """The tables of a card, and all cohorts, which are among them where they are few."""
    draws, seed = recipe.calibration.draws, recipe.seed
    who = "held-out units" if splits.test is None else "test identities"
    keys = {one.subject.key: one for one in sides}
    tables = [side_by_side(f"Verification on {who}", {k: verification_rows(one.sampled) for k, one in keys.items()})]
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
    try:
        threshold = None if point is None else float(point["threshold"])
        first = sides[0]
        cohorts = measure_cohorts(first.sampled.scores, first.embedded.items, threshold, draws=draws, seed=seed)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if 0 < len(cohorts) <= FEW_COHORTS:
        tables.append(cohort_table(cohorts, point))
    return tables, cohorts


def _recipe_losses(subject: Subject, sampled: Sampled, splits: Splits, recipe: Recipe) -> dict[str, Loss]:
    """Of the map as it ships; where it was fitted on these very units, of maps fitted without each pair's."""
    calibration, chosen = subject.calibration, recipe.calibration
    own = splits.test is None and calibration is not None and calibration.population == chosen.population
    return judge_ratios(calibration, sampled, seed=recipe.seed, folds=chosen.folds if own else None)


def judge_ratios(calibration: Calibration | None, sampled: Sampled, *, seed: int, folds: int | None) -> dict[str, Loss]:
    """The losses, broken ones said aloud. Where units are too few to fit maps anew, that is said, and there is none."""
    try:
        losses = measure_losses(calibration, sampled, seed=seed, folds=folds)
    except CommandError as error:
        print(error)
        return measure_losses(None, sampled, seed=seed)
    for name, one in losses.items():
        if one.lost is not None and one.verdict not in ("kept", "no_map"):
            print(
                f"log-likelihood ratio against {name}: Cllr less minCllr {one.lost.value:.3f} bits, {KEPT[one.verdict]}"
            )
    return losses


def _curves(sides: Sequence[Beside], recipe: Recipe, point: Mapping[str, Any] | None) -> dict[str, list[Worn]]:
    """Robustness by subject, against the type of the default point, else the last one."""
    types = list(sides[0].sampled.impostors)
    impostor = point["impostor"] if point is not None and point["impostor"] in types else types[-1]
    curves = {}
    for one in sides:
        own = default_point(one.subject.points)
        threshold = None if own is None else float(own["threshold"])
        curves[one.subject.key] = measure_robustness(one.subject, one.embedded, recipe, impostor, threshold)
    return curves


def _robustness_heading(sampled: Sampled, point: Mapping[str, Any] | None) -> str:
    types = list(sampled.impostors)
    impostor = point["impostor"] if point is not None and point["impostor"] in types else types[-1]
    return f"Robustness against {impostor} impostors, one item of each pair changed"


def _batch_tables(subject: Subject, embedded: Embedded, seed: int) -> list[Table]:
    """How far scores move with the batch size; of a bundle only, since a service batches as it will."""
    if not isinstance(subject, LocalSubject):
        return []
    items = [embedded.items.items[at] for at in sample_for_band(embedded.rows, BATCH_ITEMS, seed).tolist()]
    difference = largest_difference([subject.encoder], items, subject.metric)
    return [batch_table(difference, None if subject.calibration is None else subject.calibration.guard_band)]


def _show(
    subject: Subject,
    tables: list[Table],
    sampled: Sampled,
    out: Path | None,
    *,
    losses: Mapping[str, Loss],
    lookup: Lookup,
    curves: Mapping[str, Sequence[Worn]] | None = None,
) -> None:
    if subject.calibration is not None:
        tables.append(("Operating points", point_rows(subject.calibration)))
    if not subject.points:
        print("it has no operating point: no error rate was measured, or of too few units")
    for heading, table in tables:
        print("\n".join([f"\n{heading}\n", *markdown_table(table)]))
    if out is None:
        return
    point = default_point(subject.points)
    threshold = None if point is None else float(point["threshold"])
    hardest = show_hardest(subject.preparation.name, sampled.scores.hardest, lookup, threshold)
    documents = write_report(
        subject.key, tables, subject.points, sampled, losses=losses, curves=curves, hardest=hardest
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, data in {**documents, "hardest.csv": _csv(sampled.scores.hardest)}.items():
        (out / name).write_bytes(data)
    print(
        f"\nwrote {out / 'report.html'}, which shows the hardest pairs themselves, and, by number, "
        f"{out / 'hardest.csv'}"
    )


def _by_place(items: Sequence[Item]) -> Lookup:
    return lambda row: (items[int(row["item_a"])], items[int(row["item_b"])])


def _by_row(table: PairTable) -> Lookup:
    place = {number: at for at, number in enumerate(table.row.tolist())}

    def lookup(row: Mapping[str, str]) -> tuple[Item, Item]:
        at = place[int(row["row"])]
        return table.items[int(table.a[at])], table.items[int(table.b[at])]

    return lookup


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    file = StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()
