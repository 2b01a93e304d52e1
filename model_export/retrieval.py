"""Finding by similarity: recall@k, MAP@R and N-way K-shot accuracy, with bounds by unit. Ties count as wrong.

Every embedded item asks for its like among all others. recall@k: one of the k most alike is of the same identity.
MAP@R: Musgrave et al. 2020, "A metric learning reality check", where R is the number of the others of that identity:
the mean over the first R places of the precision up to each place that is right. An item of another identity that
scores the same stands before one that is right, else a constant encoder would find everything.

N-way K-shot: N identities (of one group, where items come in several) are drawn with K references each, and one more
item of each asks; it is given to the identity whose references it is most alike on average. Many such trials are drawn
by a fixed seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate, Units
from app.core.scoring import Float32, Metric, aggregate, similarity_matrix
from model_export.comparing import MAX_ITEMS
from model_export.datasets import LabelledItems
from model_export.figures import Float64, bound_mean
from model_export.measure import Embedded, shown
from model_export.oneshot import hits_of_scores

RECALL_AT = (1, 5, 10)
WAYS, SHOTS = (5, 20), (1, 5)
QUESTIONS = 5_000
"""Items that ask in the trials of one N and K."""
AT_ONCE = 256
Places = npt.NDArray[np.int64]
Compare = Callable[[Places, Places], Float32]
"""Scores of the items at some places (n,) with those at others (m,): float32 (n, m)."""


@dataclass(frozen=True)
class Retrieval:
    """recall_at: k -> rate; few_shot: (N, K) -> accuracy, None where no group holds so many identities of K + 1 items.

    `map_at_r` and `recall_at` are over `asking` items that have a like at all; `chance` is the share of the others
    that match, on average: the recall@1 of an encoder that knows nothing.
    """

    asking: int
    chance: float
    recall_at: Mapping[int, Rate]
    map_at_r: Rate
    few_shot: Mapping[tuple[int, int], Rate | None]


def measure_retrieval(embedded: Embedded, metric: Metric, *, grouped: bool, draws: int, seed: int) -> Retrieval | None:
    """All figures of embedded items; None where no item has a like. grouped: draw groups first, as bounds of hard pairs
    do; the gallery stays as it is while units are drawn.
    """
    items, vectors = embedded.items, embedded.rows.vectors
    score = _compare(vectors, metric)
    ranks = _ranks(items.identity, score)
    asking = np.array([len(one) > 0 for one in ranks])
    if not asking.any():
        return None
    unit = np.unique(items.unit, return_inverse=True)[1]
    units = _units(items, unit, grouped)

    def bounded(by_item: Float64) -> Rate:
        return bound_mean(_by_unit(by_item, unit, units.count), units, draws=draws, seed=seed)

    first = np.array([one[0] if len(one) else 0 for one in ranks])
    return Retrieval(
        asking=int(asking.sum()),
        chance=float(np.mean([len(one) / (len(items) - 1) for one in ranks if len(one)])),
        recall_at={k: bounded(np.where(asking, first <= k, np.nan)) for k in RECALL_AT},
        map_at_r=bounded(np.array([_average_precision(one) for one in ranks])),
        few_shot={
            (n, k): None if (hits := few_shot_hits(items, score, way=n, shot=k, seed=seed)) is None else bounded(hits)
            for k in SHOTS
            for n in WAYS
        },
    )


def few_shot_hits(items: LabelledItems, score: Compare, *, way: int, shot: int, seed: int) -> Float64 | None:
    """The share of the trials in which each item asked and was right, NaN where it never asked: float64 (items,).

    None where no group holds `way` identities of `shot` + 1 items.
    """
    groups = _identities_by_group(items, shot + 1)
    pools = [identities for identities in groups if len(identities) >= way]
    if not pools:
        return None
    generator = np.random.default_rng([seed, way, shot])
    right, asked = np.zeros(len(items)), np.zeros(len(items))
    for _ in shown(range(-(-QUESTIONS // way)), f"{way}-way {shot}-shot"):
        pool = pools[int(generator.integers(len(pools)))]
        drawn = (pool[at] for at in generator.permutation(len(pool))[:way])
        places = np.array([one[generator.permutation(len(one))[: shot + 1]] for one in drawn])
        asking, references = places[:, 0], places[:, 1:].ravel()
        scores = score(asking, references)
        hits = hits_of_scores(aggregate(scores.reshape(way, way, shot), "mean"), np.arange(way))
        right[asking] += hits
        asked[asking] += 1
    return np.asarray(np.divide(right, asked, out=np.full(len(items), np.nan), where=asked > 0))


def _compare(vectors: Float32, metric: Metric) -> Compare:
    """Scores of items by their places; all are computed once where they fit into memory, as they do elsewhere."""
    if len(vectors) > MAX_ITEMS:
        return lambda a, b: similarity_matrix(vectors[a], vectors[b], metric)
    matrix = similarity_matrix(vectors, vectors, metric)
    return lambda a, b: matrix[np.ix_(a, b)]


def _ranks(identity: Places, score: Compare) -> list[Places]:
    """For each item the places, from 1, of those like it among all others, ascending; ties as told above."""
    ranks = []
    everything = np.arange(len(identity))
    for start in shown(range(0, len(identity), AT_ONCE), "retrieval"):
        block = score(everything[start : start + AT_ONCE], everything)
        for row, scores in enumerate(block, start=start):
            alike = identity == identity[row]
            others = np.sort(scores[~alike])
            alike[row] = False
            own = np.sort(scores[alike])[::-1]
            above = len(others) - np.searchsorted(others, own, side="left")
            ranks.append(np.asarray(above + np.arange(1, len(own) + 1), np.int64))
    return ranks


def _average_precision(ranks: Places) -> float:
    """Average precision within the first R places, R = len(ranks); NaN without a like."""
    if not len(ranks):
        return np.nan
    within = ranks <= len(ranks)
    return float((np.arange(1, len(ranks) + 1) / ranks)[within].sum() / len(ranks))


def _identities_by_group(items: LabelledItems, least: int) -> list[list[Places]]:
    """For each group the items (their places) of each of its identities that has at least so many."""
    groups = []
    for group in np.unique(items.group):
        own = items.group == group
        places = [np.flatnonzero(own & (items.identity == one)) for one in np.unique(items.identity[own])]
        groups.append([one for one in places if len(one) >= least])
    return groups


def _units(items: LabelledItems, unit: Places, grouped: bool) -> Units:
    count = int(unit.max()) + 1
    if not grouped:
        return Units(count)
    group = np.zeros(count, np.int64)
    group[unit] = np.unique(items.group, return_inverse=True)[1]
    return Units(count, group)


def _by_unit(by_item: Float64, unit: Places, count: int) -> Float64:
    """The mean of each unit's items, NaN ones left out; NaN where it has no other: float64 (units,)."""
    has = ~np.isnan(by_item)
    sums = np.bincount(unit[has], weights=by_item[has], minlength=count)
    number = np.bincount(unit[has], minlength=count)
    return np.asarray(np.divide(sums, number, out=np.full(count, np.nan), where=number > 0))
