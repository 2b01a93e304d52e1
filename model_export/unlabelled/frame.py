"""All pairs of a collection, sorted by what tells most of whether they match: score, and the neighbours they share.

The pairs fall into cells: score bins by rank (every bin twice as wide a few bins on, so that the few highest scores are
as finely cut as the many low ones), each cut again by shared neighbours, in bins of the same kind. Two items share what
both find most alike (Jarvis & Patrick 1973, "Clustering using a similarity measure based on shared near neighbors"):
photographs of one person have the others of that person in common, even where these two score low. It tells most where
things have many items each. Everything else in this package sees pairs by their cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from app.core.scoring import Float32, Metric, similarity_matrix
from model_export.errors import CommandError

Float64 = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Small = npt.NDArray[np.int32]

MAX_ITEMS = 4000
"""Items whose pairs are all looked at: 8 million pairs, about 1 GB while they are sorted."""
SCORE_BINS = 240
SHARED_BINS = 60
NEIGHBOURHOOD = 3.0
"""Ranks on which a neighbour counts for less by the factor e: cut off smoothly, since how many items a thing has is not
known."""
STEPS = 3
"""From neighbour to neighbour. By trial on labelled sets, as the one before: see docs/decisions/0012."""
NEIGHBOURS = 5
"""A pair is a near one where either item is among so many most alike ones of the other."""


@dataclass(frozen=True)
class Frame:
    """Pairs of items of two units, (pairs,) each, the highest score first: the places of their items, their score, the
    cell each is in, and whether it is a near one. `edges` (bins + 1,) are the ranks at which score bins begin and end,
    `shared_edges` those of the bins of shared neighbours, the most shared first.

    `items` are how many there are. Of each cell (cells,): how many pairs it holds, and its bins of either kind.
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
        """The share of all pairs that have more neighbours in common than the middle of each bin, (bins,)."""
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
    edges, shared_edges = _edges(len(order), SCORE_BINS), _edges(len(order), SHARED_BINS)
    row = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    column = np.empty(len(order), np.int64)
    most_shared = np.argsort(-_shared_neighbours(rank)[first, second], kind="stable")
    column[most_shared] = np.repeat(np.arange(len(shared_edges) - 1), np.diff(shared_edges))
    width = len(shared_edges) - 1
    key = row * width + column
    held = np.bincount(key, minlength=(len(edges) - 1) * width)
    used = np.flatnonzero(held)
    number = np.zeros(len(held), np.int32)
    number[used] = np.arange(len(used))
    return Frame(
        items=len(vectors),
        first=first,
        second=second,
        score=scores[first, second],
        cell=number[key],
        near=np.minimum(rank[first, second], rank[second, first]) <= NEIGHBOURS,
        edges=edges,
        shared_edges=shared_edges,
        count=held[used],
        bin=used // width,
        shared_bin=used % width,
    )


def _edges(pairs: int, bins: int) -> Integers:
    """Ranks at which about so many bins begin and end, each wider than the one before by the same factor."""
    ends = np.unique(np.round(np.geomspace(1, pairs, bins)).astype(np.int64))
    return np.concatenate([np.zeros(1, np.int64), ends])


def _ranks(scores: Float32) -> Small:
    """The place of each item (columns) among the neighbours of another (rows), 1 the most alike: (items, items)."""
    rank = np.empty(scores.shape, np.int32)
    places = np.arange(1, len(scores) + 1, dtype=np.int32)
    for row, own in enumerate(scores):
        rank[row, np.argsort(-own, kind="stable")] = places
    return rank


def _shared_neighbours(rank: Small) -> Float64:
    """The cosine of where walks of STEPS from every two items end, by `rank` (items, items), the places of neighbours:
    each item is first in its own neighbourhood, and others are stepped to less the farther away they are. float64
    (items, items).
    """
    away = rank.astype(np.float64)
    np.fill_diagonal(away, 0.0)
    step = np.exp(-away / NEIGHBOURHOOD)
    step /= step.sum(axis=1, keepdims=True)
    ends = np.linalg.matrix_power(step, STEPS)
    ends /= np.linalg.norm(ends, axis=1, keepdims=True)
    return np.asarray(ends @ ends.T)
