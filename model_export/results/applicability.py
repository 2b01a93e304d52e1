"""`applicability BUNDLE ...`: how many foreign inputs a bundle refuses, and how many of its own kind, wrongly.

An input is refused where the service answers with an error (`unusable`), or where its prepared form or its embedding
lies beyond what was measured (`outside`: such a verdict is undetermined). Own inputs are those of the test identities,
whom the applicability model never saw. Where a recipe has one held-out pool, which fitted the model, models fitted by
the same rule on eight ninths of its units judge the last ninth, five times: this measures the procedure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.evidence import Applicability, is_outside
from app.core.modalities.base import Item
from model_export.card import Row, markdown_table
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.measure import Embeddings
from model_export.own_kind import fit_own_kind
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.results.foreign import foreign_items
from model_export.subjects import LocalSubject, newest

FOLDS, REPEATS = 9, 5
FEWEST = 3
"""Units of which one can be held out: a model needs two."""
HEADER: Row = ("", "inputs", "items", "refused", "unusable", "outside")


@dataclass(frozen=True)
class Refused:
    """Of some items: how many the service cannot use, and how many of the others are outside (a mean over repeats)."""

    items: int
    unusable: int
    outside: float


def compare_applicability(bundles: Sequence[Path], recipes: Path) -> None:
    """Print one table; of a folder of versions the highest is taken, and the recipe that trained it from `recipes`.

    Raises CommandError for a bundle of no recipe there.
    """
    rows = [HEADER]
    for folder in bundles:
        subject = LocalSubject(newest(folder))
        recipe = _recipe_of(subject, recipes)
        how, own = own_refused(subject, recipe)
        rows.append(_row(subject, f"own, {how}", own))
        rows += [_row(subject, kind, refused(subject, items)) for kind, items in foreign_items(recipe)]
    print("\n".join(["", *markdown_table(rows)]))


def refused(subject: LocalSubject, items: Sequence[Item]) -> Refused:
    """What the bundle itself refuses of these items."""
    calibration = subject.calibration
    if calibration is None:
        raise CommandError(f"{subject.key}: not calibrated, so that it has no applicability model")
    try:
        rows = subject.embed(items)
    except CommandError:  # not one of them can be used
        return Refused(len(items), len(items), 0)
    outside = _outside(rows, calibration.applicability, calibration.input_applicability)
    return Refused(len(items), len(items) - len(rows.vectors), int(outside.sum()))


def own_refused(subject: LocalSubject, recipe: Recipe) -> tuple[str, Refused]:
    """(how it was measured, what is refused) of items of the recipe's own population."""
    splits = read_splits(recipe)
    if splits.test is not None:
        return "test identities", refused(subject, splits.test.items)
    if len(np.unique(splits.calibration.unit)) < FEWEST:
        return "training identities", refused(subject, splits.training.items)
    return "cross-fitted", _cross_fitted(subject, splits.calibration, recipe.seed)


def _cross_fitted(subject: LocalSubject, pool: LabelledItems, seed: int) -> Refused:
    """Models by the rule of every bundle, fitted without the units that they judge."""
    calibration = subject.calibration
    if calibration is None or not (calibration.applicability or calibration.input_applicability):
        raise CommandError(f"{subject.key}: has no applicability model")
    rows = subject.embed(pool.items)
    assert rows.summaries is not None  # a local subject sums its items up
    unit = pool.unit[rows.kept]
    outside = 0
    for repeat in range(REPEATS):
        units = np.random.default_rng([seed, repeat]).permutation(np.unique(unit))
        for part in np.array_split(units, min(FOLDS, len(units))):
            judged = np.isin(unit, part)
            others = replace(rows, vectors=rows.vectors[~judged], summaries=rows.summaries[~judged])
            fitted = fit_own_kind(others, unit[~judged], seed)
            outside += int(_outside(rows, *fitted.values())[judged].sum())
    return Refused(len(pool), len(pool) - len(unit), outside / REPEATS)


def _outside(rows: Embeddings, embeddings: Applicability | None, inputs: Applicability | None) -> npt.NDArray[np.bool_]:
    """Which of the embedded items are beyond either model, as the service decides it: bool (kept,)."""
    assert rows.summaries is not None  # a local subject sums its items up
    return np.array(
        [
            is_outside(embeddings, vector) or is_outside(inputs, summary)
            for vector, summary in zip(rows.vectors, rows.summaries, strict=True)
        ],
        np.bool_,
    )


def _recipe_of(subject: LocalSubject, recipes: Path) -> Recipe:
    named = (subject.encoder.bundle.manifest.training.recipe or "").partition("#")[0]
    if not named or not (recipes / named).is_file():
        raise CommandError(f"{subject.key}: the recipe that trained it, {named or 'unnamed'}, is not in {recipes}")
    return read_recipe(recipes / named)


def _row(subject: LocalSubject, kind: str, found: Refused) -> Row:
    counts = (found.unusable + found.outside, found.unusable, found.outside)
    return (subject.key, kind, str(found.items), *(f"{count / found.items:.1%}" for count in counts))
