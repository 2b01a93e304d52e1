"""All pairs of a collection, sorted by what tells most of whether they match: score, and nearness among neighbours.

The pairs fall into cells: score bins by rank (every bin twice as wide a few bins on, so that the few highest scores are
as finely cut as the many low ones), each cut again by nearness. Nearness is how high each of the two items ranks among
the other's neighbours, as far as the score does not say so already: in a place crowded with look-alikes a high score
means less. It tells most where things have many items each. Everything else in this package sees pairs by their cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from app.core.scoring import Float32, Metric, similarity_matrix
from model_export.errors import CommandError

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]

MAX_ITEMS = 4000
"""Items whose pairs are all looked at: 8 million pairs, about 1 GB while they are sorted."""
SCORE_BINS = 240
SHARED_BINS = 60
NEIGHBOURHOOD = 5.0
NEIGHBOURS = 5
"""A pair is a near one where either item is among so many most alike ones of the other."""


@dataclass(frozen=True)
class Frame:
    """Pairs of items of two units, (pairs,) each, the highest score first: the places of their items, their score, the
    cell each is in, and whether it is a near one. `edges` (bins + 1,) are the ranks at which score bins begin and end.

    `items` are how many there are. Of each cell (cells,): how many pairs it holds, its score bin, and its nearness.
    """

    items: int
    first: Small
    second: Small
    score: Float32
    cell: Small
    near: npt.NDArray[np.bool_]
    edges: Integers
    shared_edges: Integers
    count: Integers
    bin: Integers
    shared_bin: Integers

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def middle(self) -> Float64:
        """The share of all pairs that score higher than the middle of each bin, (bins,)."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2.0 / len(self))

    @cached_property
    def shared_middle(self) -> Float64:
        return np.asarray((self.shared_edges[:-1] + self.shared_edges[1:]) / 2.0 / len(self))

    @cached_property
    def by_cell(self) -> tuple[Integers, Integers]:
        """The pairs in the order of their cells (pairs,), and where each cell begins among them (cells + 1,)."""
        order = np.argsort(self.cell, kind="stable")
        return order, np.concatenate([[0], np.cumsum(self.count)])


def build_frame(vectors: Float32, unit: Integers, metric: Metric) -> Frame:
    """The frame of embeddings (items, d) of these units (items,). Raises CommandError where no two units are there."""
    scores = similarity_matrix(vectors, vectors, metric)
    scores[unit[:, np.newaxis] == unit] = -np.inf
    rank = _ranks(scores)
    first, second = (side.astype(np.int32) for side in np.triu_indices(len(vectors), k=1))
    apart = unit[first] != unit[second]
    first, second = first[apart], second[apart]
    if not len(first):
        raise CommandError("all items are of one unit, and a pair of strangers takes two")
    order = np.argsort(-scores[first, second], kind="stable")
    first, second = first[order], second[order]
    ahead, behind = rank[first, second], rank[second, first]
    score = scores[first, second]
    shared = _shared(rank)[first, second]
    edges, shared_edges = _edges(len(score), SCORE_BINS), _edges(len(score), SHARED_BINS)
    place = np.empty(len(score), np.int64)
    place[np.argsort(-shared, kind="stable")] = np.arange(len(score))
    row = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    width = len(shared_edges) - 1
    key = row * width + np.searchsorted(shared_edges, place, side="right") - 1
    held = np.bincount(key, minlength=(len(edges) - 1) * width)
    used = np.flatnonzero(held)
    number = np.zeros(len(held), np.int32)
    number[used] = np.arange(len(used))
    near = np.minimum(ahead, behind) <= NEIGHBOURS
    return Frame(
        items=len(vectors),
        first=first,
        second=second,
        score=score,
        cell=number[key],
        near=near,
        edges=edges,
        shared_edges=shared_edges,
        count=held[used],
        bin=used // width,
        shared_bin=used % width,
    )


def _edges(pairs, bins):
    return np.concatenate([[0], np.unique(np.round(np.geomspace(1, pairs, bins)).astype(np.int64))])


def _shared(rank):
    away = rank.astype(np.float64)
    np.fill_diagonal(away, 0.0)
    weight = np.exp(-away / NEIGHBOURHOOD)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    return weight @ weight.T


def _ranks(scores: Float32) -> Small:
    """The place of each item (columns) among the neighbours of another (rows), 1 the most alike: (items, items)."""
    rank = np.empty(scores.shape, np.int32)
    places = np.arange(1, len(scores) + 1, dtype=np.int32)
    for row, own in enumerate(scores):
        rank[row, np.argsort(-own, kind="stable")] = places
    return rank


def deviates(count: int) -> Float64:
    """The standard normal deviates of ranks 1 to count, the first the highest: float64 (count,)."""
    return np.asarray(norm.isf((np.arange(count) + 0.5) / count))
