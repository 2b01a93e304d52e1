"""`evaluate (BUNDLE | --url URL --model NAME) (--recipe RECIPE | --pairs FILE)`: print and draw what an encoder does.

A bundle is embedded through the code that serves; a running service is asked over HTTP. Nothing is changed. A floor,
which learns nothing, is measured on the same items beside it. docs/evaluating.md says what each figure means.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from app.core.modalities.base import Item
from model_export.beside import (
    FEW_COHORTS,
    PAIR_DRAWS,
    PAIR_SEED,
    Beside,
    BesidePairs,
    beside_pairs,
    beside_recipe,
    cohort_table,
    default_point,
    losses_table,
    measured_items,
    pair_tables,
    recipe_tables,
    threshold_of,
)
from model_export.calibration_loss import Loss, judge_ratios
from model_export.card import Table, markdown_table, point_rows
from model_export.claim_tables import claims_table, held_table
from model_export.claims import Outcome, hold_claims, sum_up
from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems, Splits
from model_export.figures import Sampled, draw_samples
from model_export.label_doubts import tell_doubts
from model_export.measure import Embeddings, keep_labelled, largest_difference, sample_for_band
from model_export.pairs import PairTable, read_pairs
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.report import Report, write_report
from model_export.robustness.comparisons import Comparisons, PairComparisons, RecipeComparisons
from model_export.robustness.measuring import Worn, measure_robustness
from model_export.showing import Lookup, show_hardest
from model_export.subjects import LocalSubject, Subject, choose_point
from model_export.tables import (
    accuracy_table,
    batch_table,
    robustness_rows,
    side_by_side,
)

BATCH_ITEMS = 100


def evaluate_recipe(
    subject: Subject, recipe_path: Path, out: Path | None, floor: str | None = None, splits: Splits | None = None
) -> None:
    """Measure on the recipe's test identities, or on its one held-out pool; print tables, write a report to `out`.

    floor: by name, NONE for none, None for the recipe's. splits: the recipe's data, where the caller has read it.
    Raises CommandError for a recipe or data that cannot be used.
    """
    recipe = read_recipe(recipe_path)
    splits = splits or read_splits(recipe)
    items, chosen = measured_items(splits), recipe.calibration
    draws, seed = chosen.draws, recipe.seed
    embedded = keep_labelled(items, subject.embed(items.items))
    sampled = draw_samples(score_all_pairs(embedded, subject.metric, chosen, seed=seed), draws=draws, seed=seed)
    sides = beside_recipe(subject, embedded, sampled, recipe, splits, floor=floor)
    point = default_point(subject.points)
    tables, cohorts = recipe_tables(sides, splits, recipe, point)
    losses = _recipe_losses(subject, sampled, splits, recipe)
    tables.append(losses_table(losses, sides, seed))
    if len(cohorts) > FEW_COHORTS:
        heading, rows, _ = cohort_table(sides, point, draws=draws, seed=seed)
        tables.append((heading, rows))
    curves = _wear(sides, RecipeComparisons.draw(embedded.items, recipe))
    tables += [*_robustness_tables(curves, sampled, point), *_batch_tables(subject, embedded.rows, items.items, seed)]
    if subject.points:
        heading, rows = claims_table(subject.points, sampled.scores, draws=draws, seed=seed)
        if splits.test is None:
            heading += " (a bundle that this recipe calibrated chose its thresholds on the same items)"
        tables.append((heading, rows))
    about = f"Measured by {recipe_path.name}, on {splits.test_population}: {len(items)} items."
    _show(subject, tables, sampled, out, about=about, losses=losses, curves=curves, lookup=_by_place(items.items))


def evaluate_pairs(
    subject: Subject, path: Path, out: Path | None, floor: str | None = None, point: str | None = None
) -> Outcome | None:
    """Measure on labelled pairs; print tables, write a report to `out`. Returns whether the claims hold (claims.py).

    floor: as above, by the subject's modality where None. point: TYPE:NAME, which decides where no claim is refuted;
    the default one where None. Returns None where nothing is claimed. Raises CommandError for a table that cannot be
    used, or a point that there is not.
    """
    deciding = choose_point(subject.key, subject.points, point) if subject.points or point else None
    table = read_pairs(path, subject.form)
    sides = beside_pairs(subject, table, floor)
    tell_doubts(sides[0].measured)
    own, default = sides[0], default_point(subject.points)
    sampled, measured = own.sampled, own.measured
    losses = judge_ratios(subject.calibration, sampled, seed=PAIR_SEED, folds=None)
    curves = _wear(sides, PairComparisons.draw(table, PAIR_SEED))
    tables = [
        *pair_tables(sides, table, losses),
        *_robustness_tables(curves, sampled, default),
        *_batch_tables(subject, own.rows, table.items, PAIR_SEED),
    ]
    if default is not None:
        tables.append(accuracy_table(default, measured.score, measured.label))
    held = hold_claims(subject.points, measured.scores, draws=PAIR_DRAWS, seed=PAIR_SEED)
    if held:
        tables.append(held_table(held))
    about = f"Measured on {path.name}: {len(table.label)} labelled pairs of {len(table.items)} items."
    _show(subject, tables, sampled, out, about=about, losses=losses, curves=curves, lookup=_by_row(table))
    if deciding is None:
        return None
    outcome, said = sum_up(held, deciding)
    print(f"\n{said}")
    return outcome


def hardest_shown(subject: Subject, items: LabelledItems, sampled: Sampled, point: Mapping[str, Any] | None) -> str:
    """The hardest pairs of a recipe's items as HTML, for a report that may show items."""
    return show_hardest(subject.preparation.name, sampled.scores.hardest, _by_place(items.items), threshold_of(point))


def _recipe_losses(subject: Subject, sampled: Sampled, splits: Splits, recipe: Recipe) -> dict[str, Loss]:
    """Of the map as it ships; where it was fitted on these very units, of maps fitted without each pair's."""
    calibration, chosen = subject.calibration, recipe.calibration
    own = splits.test is None and calibration is not None and calibration.population == chosen.population
    return judge_ratios(calibration, sampled, seed=recipe.seed, folds=chosen.folds if own else None)


def _wear(sides: Sequence[Beside | BesidePairs], comparisons: Comparisons) -> dict[str, list[Worn]]:
    """Robustness by subject, each at its own default threshold, against the type that stands for all."""
    own = sides[0]
    impostor = _worn_against(own.sampled, default_point(own.subject.points))
    return {
        one.subject.key: measure_robustness(
            one.subject, comparisons, impostor, threshold_of(default_point(one.subject.points))
        )
        for one in sides
    }


def _worn_against(sampled: Sampled, point: Mapping[str, Any] | None) -> str:
    """The type of the default point where it was measured here, else the last one."""
    types = list(sampled.impostors)
    return point["impostor"] if point is not None and point["impostor"] in types else types[-1]


def _robustness_tables(
    curves: Mapping[str, Sequence[Worn]], sampled: Sampled, point: Mapping[str, Any] | None
) -> list[Table]:
    """None for a modality that nothing here wears."""
    if not any(curves.values()):
        return []
    heading = f"Robustness against {_worn_against(sampled, point)} impostors, one item of each pair changed"
    return [side_by_side(heading, {key: robustness_rows(one) for key, one in curves.items()})]


def _batch_tables(subject: Subject, rows: Embeddings, items: Sequence[Item], seed: int) -> list[Table]:
    """How far scores move with the batch size; of a bundle only, since a service batches as it will."""
    if not isinstance(subject, LocalSubject):
        return []
    kept = rows.kept.nonzero()[0]
    some = [items[at] for at in kept[sample_for_band(rows, BATCH_ITEMS, seed)].tolist()]
    difference = largest_difference([subject.encoder], some, subject.metric)
    return [batch_table(difference, None if subject.calibration is None else subject.calibration.guard_band)]


def _show(
    subject: Subject,
    tables: list[Table],
    sampled: Sampled,
    out: Path | None,
    *,
    about: str,
    losses: Mapping[str, Loss],
    lookup: Lookup,
    curves: Mapping[str, Sequence[Worn]],
) -> None:
    if subject.calibration is not None:
        tables.append(("Operating points", point_rows(subject.calibration)))
    if subject.valid_until is not None and subject.valid_until < datetime.datetime.now(datetime.UTC).date():
        print(f"its evidence was valid until {subject.valid_until}: every verdict has the reason calibration_stale")
    if not subject.points:
        print("it has no operating point: no error rate was measured, or of too few units")
    for heading, table in tables:
        print("\n".join([f"\n{heading}\n", *markdown_table(table)]))
    if out is None:
        return
    threshold = threshold_of(default_point(subject.points))
    hardest = show_hardest(subject.preparation.name, sampled.scores.hardest, lookup, threshold)
    documents = write_report(
        Report(subject.key, about, tables, subject.points, sampled, losses=losses, curves=curves, hardest=hardest)
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
