"""`compare [BUNDLE ...] [--floor NAME ...] (--recipe RECIPE | --pairs FILE)`: one table for bundles and floors alike.

Each is measured as `evaluate` does, on the same items and pairs. `nearest` takes the same subjects.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from model_export.beside import PAIR_DRAWS, PAIR_SEED
from model_export.card import markdown_table
from model_export.comparing import Scores, score_all_pairs
from model_export.errors import CommandError
from model_export.export import export
from model_export.floors.subject import Floor
from model_export.measure import keep_labelled
from model_export.pairs import read_pairs, score_pairs
from model_export.populations import read_splits
from model_export.recipe import Recipe
from model_export.subjects import LocalSubject, Subject
from model_export.tables import verification_table


def make_subjects(bundles: Sequence[Path], floors: Sequence[str], recipe: Recipe | None) -> list[Subject]:
    """The bundles, then the floors. Raises CommandError where there is none, BundleRefused for an unusable bundle."""
    subjects: list[Subject] = [LocalSubject(folder) for folder in bundles]
    subjects += [Floor(name, None if recipe is None else recipe.modality) for name in floors]
    if not subjects:
        raise CommandError("give a bundle, or --floor")
    return subjects


def export_subject(run: Path, models: Path) -> LocalSubject:
    """A run folder's encoder, exported below `models`. What `export` tells goes to stderr, as it holds a table too."""
    with contextlib.redirect_stdout(sys.stderr):
        bundle = export(run, models)
    return LocalSubject(bundle)


def compare_on_recipe(subjects: Sequence[Subject], recipe: Recipe) -> None:
    """Print the table on the recipe's test identities, or on its one held-out pool."""
    splits = read_splits(recipe)
    items = splits.calibration if splits.test is None else splits.test
    print(f"{len(items)} items: {splits.test_population}")
    chosen = recipe.calibration
    scores = (
        score_all_pairs(keep_labelled(items, one.embed(items.items)), one.metric, chosen, seed=recipe.seed)
        for one in subjects
    )
    _show(subjects, scores, draws=chosen.draws, seed=recipe.seed)


def compare_on_pairs(subjects: Sequence[Subject], path: Path) -> None:
    """Print the table on labelled pairs. Raises CommandError for a table that cannot be used, or subjects of two
    forms.
    """
    if len({one.form for one in subjects}) > 1:
        raise CommandError("bundles and floors that take items of different forms share no pairs")
    table = read_pairs(path, subjects[0].form)
    scores = (score_pairs(table, one.embed(table.items), one.metric).scores for one in subjects)
    _show(subjects, scores, draws=PAIR_DRAWS, seed=PAIR_SEED)


def _show(subjects: Sequence[Subject], measured: Iterator[Scores], *, draws: int, seed: int) -> None:
    rows: list[tuple[str, ...]] = []
    for subject, scores in zip(subjects, measured, strict=True):
        header, *own = verification_table("", scores, draws=draws, seed=seed)[1]
        rows = rows or [("", *header)]
        rows += [(subject.key, *row) for row in own]
    print("\n".join(["", *markdown_table(rows)]))
