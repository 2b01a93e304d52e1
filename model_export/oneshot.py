"""One-shot recognition: is the nearest reference the right one? Ties count as wrong, else a constant encoder wins.

Besides the trials of a published protocol, `hits_by_group` makes many of the same kind from any labelled items, and
`mean_over_groups` says how far another choice of groups could move the figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate
from app.core.evidence.bounds import bound_figure
from app.core.scoring import Metric, similarity_matrix
from model_export.datasets import LabelledItems

Vectors = npt.NDArray[np.float32]
Hits = npt.NDArray[np.bool_]

WAYS = 20


def one_shot_hits(
    probes: Vectors, references: Vectors, answer: npt.NDArray[np.int64], metric: Metric = "cosine"
) -> Hits:
    """Decide each probe alone: bool (probes,), true where reference `answer[i]` alone scores highest.

    probes (n, d), references (m, d), answer int64 (n,).
    """
    return hits_of_scores(similarity_matrix(probes, references, metric), answer)


def hits_of_scores(scores: npt.NDArray[np.float32], answer: npt.NDArray[np.int64]) -> Hits:
    """The same from scores (n, m): true where column `answer[i]` of row i is above every other."""
    right = np.zeros(scores.shape, np.bool_)
    right[np.arange(len(answer)), answer] = True
    best_other = np.where(right, -np.inf, scores).max(axis=1)
    return np.asarray(scores[right] > best_other)


def hits_by_group(
    vectors: Vectors, items: LabelledItems, *, ways: int = WAYS, seed: int = 0, metric: Metric = "cosine"
) -> dict[str, Hits]:
    """Group name -> bool (trials,): for every ordered pair of its sources, `ways` of its identities at random.

    The items of the first source are probes, those of the second references, as the two drawers of an Omniglot run.
    vectors (items, d). A pair of sources with fewer identities in common has as many ways as those; with fewer than
    two it has no trial. The draw depends on the seed and the group alone, not on the vectors. An item that repeats an
    identity of its source is left out, the first one counts.
    """
    hits = {}
    for group in np.unique(items.group):
        rng = np.random.default_rng([seed, int(group)])
        here = np.flatnonzero(items.group == group)
        trials = [
            one_shot_hits(vectors[probes], vectors[references], np.arange(len(probes)), metric)
            for probes, references in _pairs_of_sources(items, here, ways, rng)
        ]
        if trials:
            hits[items.group_names[group]] = np.concatenate(trials)
    return hits


def _pairs_of_sources(
    items: LabelledItems, here: npt.NDArray[np.int64], ways: int, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Probes and references of each ordered pair of sources: item numbers, int64 (ways,) each, identity by identity."""
    own: dict[int, dict[int, int]] = {}
    for place in here.tolist():
        own.setdefault(int(items.source[place]), {}).setdefault(int(items.identity[place]), place)
    for first in sorted(own):
        for second in sorted(own):
            shared = np.array(sorted(own[first].keys() & own[second].keys()))
            if first == second or len(shared) < 2:
                continue
            drawn = rng.permutation(shared)[:ways].tolist()
            yield np.array([own[first][one] for one in drawn]), np.array([own[second][one] for one in drawn])


def mean_over_groups(hits: Mapping[str, Hits], identities: int, *, draws: int, seed: int) -> Rate:
    """Mean over groups of each one's accuracy, with 95 % bounds from a bootstrap by group.

    Groups weigh the same, and are what is drawn: the trials of one share its identities and its sources. `identities`
    bounds what a sample without any error can say; see app.core.evidence.bounds.bound_figure. Needs two groups.
    """
    by_group = np.array([one.mean() for one in hits.values()])
    drawn = np.random.default_rng(seed).choice(by_group, (draws, len(by_group))).mean(axis=1)
    value = float(by_group.mean())
    low, high = bound_figure(value, drawn, identities, len(by_group))
    return Rate(value=value, low=low, high=high)
