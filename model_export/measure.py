"""Scores of labelled items, computed by the exported graph through the code that serves. Nothing here knows torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.errors import TwinserveError
from app.core.evidence import GenuineScores, PairScores, Units
from app.core.modalities.base import Limits, Prepared
from app.core.scoring import Metric, similarity_matrix
from app.runtime.encoder import Encoder
from model_export.datasets import LabelledItems

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedded:
    """Items that could be embedded, with their vectors float32 (items, d), the modality's summaries of their prepared
    form float32 (items, s), and the shares that could not, by reason.
    """

    items: LabelledItems
    vectors: Vectors
    summaries: Vectors
    failure_to_acquire: Mapping[str, float]


def embed_items(encoder: Encoder, items: LabelledItems) -> Embedded:
    """Prepare and embed every item; an item that the service would refuse is counted by its error code and left out."""
    prepared: list[Prepared] = []
    kept = np.zeros(len(items), np.bool_)
    refused: Counter[str] = Counter()
    for place, item in enumerate(items.items):
        try:
            prepared.append(encoder.prepare(item, Limits()))
        except TwinserveError as error:
            refused[error.code] += 1
        else:
            kept[place] = True
    shares = {code: count / len(items) for code, count in refused.items()}
    summaries = np.stack([encoder.summarize(one) for one in prepared])
    return Embedded(items.select(kept), encoder.embed_prepared(prepared), summaries, shares)


@dataclass(frozen=True)
class Scores:
    """All comparisons of a population: genuine pairs, and impostor pairs by type, with their units."""

    units: Units
    genuine: GenuineScores
    impostors: Mapping[str, PairScores]


def score_all_pairs(embedded: Embedded, metric: Metric) -> Scores:
    """Compare every item with every other; identity is the unit, group bounds the hard impostors.

    `random` are pairs of different identities of any group, `hard` those of one group.
    """
    items = embedded.items
    identities, unit = np.unique(items.identity, return_inverse=True)
    group = _group_of(unit, items.group, len(identities))
    first, second = np.triu_indices(len(items), k=1)
    scores = similarity_matrix(embedded.vectors, embedded.vectors, metric)[first, second]
    unit_a, unit_b = unit[first].astype(np.int32), unit[second].astype(np.int32)
    same = unit_a == unit_b
    hard = ~same & (group[unit_a] == group[unit_b])
    return Scores(
        Units(len(identities), group),
        GenuineScores(scores[same], unit_a[same]),
        {
            "random": PairScores(scores[~same], unit_a[~same], unit_b[~same]),
            "hard": PairScores(scores[hard], unit_a[hard], unit_b[hard], within_groups=True),
        },
    )


def _group_of(unit: npt.NDArray[np.int64], group: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The group of each unit, int64 (count,), numbered from 0. Every item of a unit has the same group."""
    result = np.zeros(count, np.int64)
    result[unit] = np.unique(group, return_inverse=True)[1]
    return result


def guard_band(encoders: Sequence[Encoder], items: LabelledItems, metric: Metric, floor: float) -> float:
    """max(floor, 4 x the largest score difference over encoders (threads, providers) and batch sizes).

    `items`: a few hundred are enough; all are compared with all, embedded alone and in batches of several sizes.
    """
    prepared = [encoders[0].prepare(item, Limits()) for item in items.items]
    windows = [one.windows[0] for one in prepared]
    seen = []
    for encoder in encoders:
        for size in (1, 2, 3, 8, 32, len(windows)):
            rows = np.concatenate([encoder.encode(windows[at : at + size]) for at in range(0, len(windows), size)])
            seen.append(similarity_matrix(rows, rows, metric))
    spread = float((np.max(seen, axis=0) - np.min(seen, axis=0)).max())
    return max(floor, 4.0 * spread)
