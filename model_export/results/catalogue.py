"""`catalogue [BUNDLE ...] [--floor NAME ...] --recipe RECIPE`: photographs find the catalogue picture of their product.

Each held-out photograph is compared with the catalogue's pictures of all held-out products, one each. recall@k: the
right one is among the k most alike; a wrong one that scores the same stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.core.scoring import similarity_matrix
from model_export.card import markdown_table
from model_export.datasets.groceries import read_catalogue
from model_export.errors import CommandError
from model_export.recipe import Recipe, data_folder
from model_export.recipe.data import GroceriesData
from model_export.subjects import Subject

AT = (1, 5)


def compare_catalogue(subjects: Sequence[Subject], recipe: Recipe) -> None:
    """Print the table. Raises CommandError for data without a catalogue."""
    if not isinstance(recipe.data, GroceriesData):
        raise CommandError(f"{recipe.name}: its data have no catalogue")
    run = read_catalogue(data_folder(recipe), recipe.data)
    draws, seed = recipe.calibration.draws, recipe.seed
    header = ("", "photographs", "catalogue pictures", *(f"recall@{k}" for k in AT))
    rows: list[tuple[str, ...]] = [header]
    for subject in subjects:
        photographs, icons = subject.embed([*run.tests]), subject.embed([*run.training])
        if not (photographs.kept.all() and icons.kept.all()):
            raise CommandError("a picture is refused, so that the trial cannot be followed")
        ranks = rank_right(similarity_matrix(photographs.vectors, icons.vectors, subject.metric), run.answer)
        shown = (recall(ranks <= k, run.answer, draws=draws, seed=seed) for k in AT)
        rows.append((subject.key, str(len(ranks)), str(len(run.training)), *shown))
    chance = tuple(f"{k / len(run.training):.3g}" for k in AT)
    rows.append(("chance", str(len(run.tests)), str(len(run.training)), *chance))
    print("\n".join(["", *markdown_table(rows)]))


def rank_right(scores: npt.NDArray[np.float32], answer: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place, from 1, of the right picture of each photograph: scores (photographs, pictures), ties before it."""
    own = scores[np.arange(len(scores)), answer]
    return np.asarray((scores >= own[:, np.newaxis]).sum(axis=1), np.int64)


def recall(hits: npt.NDArray[np.bool_], product: npt.NDArray[np.int64], *, draws: int, seed: int) -> str:
    """The share of hits, every product weighing the same, with 95 % bounds from a bootstrap over products."""
    by_product = np.array([hits[product == one].mean() for one in np.unique(product)])
    drawn = np.random.default_rng(seed).choice(by_product, (draws, len(by_product))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{by_product.mean():.3g} [{low:.3g}, {high:.3g}]"
