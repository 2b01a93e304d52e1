"""What is looked at before anything is published: whether the encoder is better than chance on what is held out, and
which labels it does not believe.

Labels that belong to other items teach nothing, which shows here. One identity under two names, and an item under a
wrong name, show as what is nearer than its label says. That is a hint, no proof: two things may look alike.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.scoring import similarity_matrix
from model_export.beside import measured_items
from model_export.card import show
from model_export.comparing import affordable, score_all_pairs
from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.figures import draw_samples, headline_of
from model_export.measure import keep_labelled, quiet
from model_export.recipe import Recipe
from model_export.subjects import Subject

LIST = "doubts.csv"
PRINTED = 10
ONE = "not told apart: one identity under two names, or two that look alike"
MISNAMED = "the first lies nearer to the other's than to its own: a wrong name, or an odd item"
NEARLY, FAR = 0.85, 0.7
"""Shares of the way from strangers to alike. FAR allows for items of an identity that are misnamed themselves."""
TRUSTED = 0.95
"""An area under the ROC curve from which an encoder's doubts are worth reading; below, most are its own errors."""
CHANCE = 0.5
LEARNT = 0.6
"""An area under the ROC curve that is lower, and whose bounds reach chance, is no encoder to publish."""


def check_learnt(subject: Subject, recipe: Recipe, splits: Splits, folder: Path) -> None:
    """Print what an encoder doubts of what is held out, all of it in `folder`.

    Raises CommandError where it tells it apart no better than chance.
    """
    items = measured_items(splits)
    embedded = keep_labelled(items, subject.embed(items.items))
    scores = score_all_pairs(embedded, subject.metric, recipe.calibration, seed=recipe.seed, tell=quiet)
    auc, _ = headline_of(draw_samples(scores, draws=recipe.calibration.draws, seed=recipe.seed), "random")
    print(f"on what is held out: ROC AUC {show(auc)} against random impostors")
    if auc.value < LEARNT and auc.low <= CHANCE:
        raise CommandError(
            f"it tells what is held out apart no better than chance (ROC AUC {show(auc)}), so nothing is published: do "
            "the labels belong to the items, and do these show what a match means? Else give it more minutes"
        )
    if auc.value < TRUSTED:
        print(f"labels are not doubted by an encoder that tells items apart so little (ROC AUC below {TRUSTED})")
        return
    place = affordable(embedded.items, recipe.seed, quiet)
    likeness = similarity_matrix(embedded.rows.vectors[place], embedded.rows.vectors[place], subject.metric)
    doubts = list(find_doubts(likeness, embedded.items.identity[place]))
    names = [items.name(int(at)) for at in embedded.places[place]]
    _tell([(names[one], names[other], score, said) for one, other, score, said in doubts], folder)


def find_doubts(
    likeness: npt.NDArray[np.float32], identity: npt.NDArray[np.int64]
) -> Iterator[tuple[int, int, float, str]]:
    """Two items that stand for a doubt, the score of its kind, and the doubt in words, the highest first.

    likeness float32 (items, items), identity int64 (items,). `Alike` is the median over identities of their pairs' mean
    score, `strangers` that over pairs of identities; a share of the way goes from the one to the other. Two identities,
    each the other's nearest, may be one where their mean score is nearly alike, and nearly the lower of their own. An
    item may be misnamed where its mean score with another identity is far on the way, and with its own is not.
    """
    number = np.unique(identity, return_inverse=True)[1]
    belongs = np.eye(int(number.max()) + 1, dtype=np.float64)[number]
    count = belongs.sum(axis=0)
    to_identity = likeness @ belongs  # (items, identities), sums
    between = belongs.T @ to_identity / np.outer(count, count)
    itself = likeness.diagonal().astype(np.float64)
    several = count > 1
    with np.errstate(invalid="ignore", divide="ignore"):
        own = (np.diagonal(belongs.T @ to_identity) - belongs.T @ itself) / (count * (count - 1))
    if several.sum() < 2:
        return
    alike = float(np.median(own[several]))
    np.fill_diagonal(between, -np.inf)
    strangers = float(np.median(between[np.isfinite(between)]))

    def way(share: float, score: float) -> float:
        return strangers + share * (score - strangers)

    first = [int(np.flatnonzero(number == one)[0]) for one in range(len(count))]
    nearest = between.argmax(axis=1)
    doubts = [
        (first[one], first[other], float(between[one, other]), ONE)
        for one, other in enumerate(nearest.tolist())
        if one < other
        and nearest[other] == one
        and several[[one, other]].all()
        and between[one, other] >= way(NEARLY, max(alike, min(own[one], own[other])))
    ]
    for at in np.flatnonzero(count[number] > 2).tolist():
        mine = number[at]
        means = to_identity[at] / count
        to_own = (to_identity[at, mine] - itself[at]) / (count[mine] - 1)
        means[mine], means[~several] = -np.inf, -np.inf
        if means.max() >= way(FAR, alike) and to_own <= way(1 - FAR, alike):
            doubts.append((at, first[int(means.argmax())], float(means.max()), MISNAMED))
    yield from sorted(doubts, key=lambda doubt: -doubt[2])


def _tell(doubts: list[tuple[str, str, float, str]], folder: Path) -> None:
    path = folder / LIST
    path.unlink(missing_ok=True)
    if not doubts:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("item", "other_item", "score", "doubt"))
        writer.writerows((one, other, f"{score:.4f}", said) for one, other, score, said in doubts)
    for one, other, score, said in doubts[:PRINTED]:
        print(f"doubt: {one} and {other} ({score:.2f}): {said}")
    print(f"{len(doubts)} doubts about labels of what is held out, all in {path}: correct what is wrong and fit again")
