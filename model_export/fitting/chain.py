"""A recipe followed from data to evidence: train, export, calibrate, evaluate, each as its own command does it.

Between export and calibrate the encoder is looked at on what is held out: one that is no better than chance is not
published.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from model_export.calibrate import calibrate_recipe
from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.evaluate import evaluate_recipe
from model_export.export import export
from model_export.fitting.doubts import check_learnt
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.subjects import LocalSubject
from model_export.training import is_finished, train
from model_export.training.checkpoints import read_mark
from model_export.training.run_folder import RECIPE_FILE, WEIGHTS_FILE


@dataclass(frozen=True)
class Fitted:
    """What came of it: the bundle's folder, the report's, and the parts of the data."""

    bundle: Path
    report: Path
    splits: Splits


def follow(
    recipe_path: Path,
    *,
    models: Path,
    runs: Path,
    bundle: Path | None = None,
    fresh: bool = False,
    splits: Splits | None = None,
) -> Fitted:
    """Follow a recipe; a training that came to its end is not repeated.

    bundle: an encoder that is there already, and is measured as it is; a recipe whose data is frozen takes one. splits:
    the recipe's data, where the caller has read it. Raises CommandError as the four commands do.
    """
    recipe = read_recipe(recipe_path)
    run = run_folder(recipe, runs)
    splits = splits or read_splits(recipe, run)
    if splits.frozen != (bundle is not None):
        raise CommandError(
            f"{recipe_path}: data.frozen is {'true' if splits.frozen else 'false'}; --bundle names the encoder that "
            "frozen data measures, and goes with no other"
        )
    if bundle is None:
        _train(recipe_path, run, splits, fresh=fresh)
        shutil.rmtree(run / "exported", ignore_errors=True)
        bundle = export(run, run / "exported")
    check_learnt(LocalSubject(bundle), recipe, splits, run)
    published = calibrate_recipe(bundle, recipe_path, models, splits)
    print(f"wrote {published}")
    evaluate_recipe(LocalSubject(published), recipe_path, run / "report", splits=splits)
    return Fitted(published, run / "report" / "report.html", splits)


def run_folder(recipe: Recipe, runs: Path) -> Path:
    """Where the training of this version lies."""
    return runs / f"{recipe.name}-{recipe.version}"


def _train(recipe_path: Path, run: Path, splits: Splits, *, fresh: bool) -> None:
    """Train, or go on, or leave it where it is done; weights that it made worse are told."""
    _train_on(recipe_path, run, splits, fresh=fresh)
    mark = read_mark(run)
    if mark is not None and mark.best < mark.untrained_auc:
        print(
            f"note: validation AUC is {mark.best:.4f} at best after training and was {mark.untrained_auc:.4f} before: "
            "more items, a lower optimiser.learning_rate or a higher encoder.from_share may keep it; imported as they "
            "are, the weights can be measured with --bundle"
        )


def _train_on(recipe_path: Path, run: Path, splits: Splits, *, fresh: bool) -> None:
    if fresh or not (run / WEIGHTS_FILE).exists():
        train(recipe_path, run, fresh=fresh, splits=splits)
        return
    if read_recipe(run / RECIPE_FILE).model_dump() != read_recipe(recipe_path).model_dump():
        raise CommandError(
            f"{recipe_path}: was followed before it was edited (in {run}); raise its version, or --fresh trains anew"
        )
    if is_finished(recipe_path, run):
        print(f"{run}: trained already")
    else:
        train(recipe_path, run, splits=splits)
