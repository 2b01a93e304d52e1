"""`evaluate (BUNDLE | --url URL --model NAME) (--recipe RECIPE | --pairs FILE)`: print and draw what an encoder does.

A bundle is embedded through the code that serves; a running service is asked over HTTP. Nothing is changed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from model_export.card import markdown_table, point_rows
from model_export.comparing import Scores, score_all_pairs
from model_export.datasets import Splits
from model_export.measure import keep_labelled
from model_export.pairs import read_pairs, score_pairs
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.report import Table, write_report
from model_export.subjects import Subject
from model_export.tables import accuracy_table, claims_table, one_shot_table, verification_table

PAIR_DRAWS, PAIR_SEED = 1000, 0
"""Draws and seed of the bootstrap on a pair table, which names none."""


def evaluate_recipe(subject: Subject, recipe_path: Path, out: Path | None) -> None:
    """Measure on the recipe's test identities, or on its one held-out pool; print tables, write a report to `out`.

    Raises CommandError for a recipe or data that cannot be used.
    """
    recipe = read_recipe(recipe_path)
    splits = read_splits(recipe)
    items = splits.calibration if splits.test is None else splits.test
    embedded = keep_labelled(items, subject.embed(items.items))
    scores = score_all_pairs(embedded, subject.metric, recipe.calibration, seed=recipe.seed)
    tables = recipe_tables(subject, scores, splits, recipe)
    if subject.points:
        heading, rows = claims_table(subject.points, scores, draws=recipe.calibration.draws, seed=recipe.seed)
        if splits.test is None:
            heading += " (a bundle that this recipe calibrated chose its thresholds on the same items)"
        tables.append((heading, rows))
    _show(subject, tables, scores, out)


def evaluate_pairs(subject: Subject, path: Path, out: Path | None) -> None:
    """Measure on labelled pairs; print tables, write a report to `out`.

    Raises CommandError for a table that cannot be used.
    """
    table = read_pairs(path, subject.form)
    measured = score_pairs(table, subject.embed(table.items), subject.metric)
    scores = measured.scores
    tables = [verification_table("Verification on the labelled pairs", scores, draws=PAIR_DRAWS, seed=PAIR_SEED)]
    if subject.points:
        tables.append(claims_table(subject.points, scores, draws=PAIR_DRAWS, seed=PAIR_SEED))
    tables += [accuracy_table(point, measured.score, measured.label) for point in subject.points if point["default"]]
    _show(subject, tables, scores, out)


def recipe_tables(subject: Subject, scores: Scores, splits: Splits, recipe: Recipe) -> list[Table]:
    """Verification figures of a recipe's population, and the official one-shot score where its data has runs."""
    draws, seed = recipe.calibration.draws, recipe.seed
    who = "held-out units" if splits.test is None else "test identities"
    tables = [verification_table(f"Verification on {who}", scores, draws=draws, seed=seed)]
    if splits.runs:
        tables.append(one_shot_table(subject, splits.runs, draws=draws, seed=seed))
    return tables


def _show(subject: Subject, tables: list[Table], scores: Scores, out: Path | None) -> None:
    if subject.calibration is not None:
        tables.append(("Operating points", point_rows(subject.calibration)))
    if not subject.points:
        print("it has no operating point: no error rate was measured, or of too few units")
    for heading, table in tables:
        print("\n".join([f"\n{heading}\n", *markdown_table(table)]))
    if out is None:
        return
    documents = write_report(subject.key, tables, subject.calibration, scores)
    out.mkdir(parents=True, exist_ok=True)
    for name, data in {**documents, "hardest.csv": _csv(scores.hardest)}.items():
        (out / name).write_bytes(data)
    print(f"\nwrote {out / 'report.html'} and, by number, the hardest pairs: {out / 'hardest.csv'}")


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    file = StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()
