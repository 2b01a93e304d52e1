"""Labelled items compared with several references at once: the comparisons behind evidence for k > 1.

The references of an identity are k of its items, drawn at random, several times over; every other item is a probe. A
genuine comparison has a probe of the same identity, an impostor one a probe of another identity and another unit, of
the types that `comparing` tells apart. All k items are of one unit, and of one group where hard impostors are measured,
as an enrolment is. Both directions of a unit pair, and all draws, count as that one unit pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence import GenuineScores, PairScores
from app.core.scoring import Aggregation, Float32, Metric, aggregate, similarity_matrix
from model_export.comparing import MAX_UNIT_PAIRS, Scores, affordable
from model_export.errors import CommandError
from model_export.measure import Embedded
from model_export.recipe import Calibration

AGGREGATION_WORDS: Mapping[Aggregation, str] = {"max": "highest score", "mean": "mean score"}
DRAWS = 5
"""How often the references of each identity are drawn anew, at most; all draws count together."""
MAX_COMPARISONS = 8_000_000
"""Comparisons of one k, which bound the draws: about 1 GB while they are measured."""
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """Comparisons of probes with sets of k references: by aggregation the score, float32 (m,), and of each comparison
    the place of its probe and of one of its references (m,).
    """

    score: Mapping[Aggregation, Float32]
    probe: Numbers
    reference: Numbers


def draw_references(score: Float32, identity: Numbers, k: int, seed: int) -> Drawn:
    """Compare every item with k references of each identity, drawn from its items, but for those among them.

    score (items, items) of all with all; identity int64 (items,), negative for an item that is a probe only. Raises
    CommandError where no identity has more than k items, since nothing genuine would be left to compare.
    """
    members = [np.flatnonzero(identity == one) for one in np.unique(identity[identity >= 0])]
    members = [mine for mine in members if len(mine) >= k]
    if not any(len(mine) > k for mine in members):
        raise CommandError(f"references: no identity has more than {k} items")
    draws = min(DRAWS, max(1, MAX_COMPARISONS // (len(members) * len(identity))))
    rng = np.random.default_rng(seed)
    sets = [rng.choice(mine, k, replace=False) for mine in members for _ in range(draws)]
    probes = [np.setdiff1d(np.arange(len(identity)), one) for one in sets]
    tables = [score[np.ix_(others, one)] for one, others in zip(sets, probes, strict=True)]
    return Drawn(
        {how: np.concatenate([aggregate(table, how) for table in tables]) for how in AGGREGATION_WORDS},
        np.concatenate(probes),
        np.repeat([one[0] for one in sets], [len(others) for others in probes]),
    )


def score_references(
    embedded: Embedded, metric: Metric, chosen: Calibration, single: Scores, k: int, *, seed: int
) -> dict[Aggregation, Scores]:
    """Aggregation -> the comparisons with k references of the items that `single` compared one by one.

    Units, types and, where unit pairs are too many, those that are compared are the ones of `single`. Raises
    CommandError where no identity has more than k items, or a type is left without a comparison.
    """
    items = embedded.items
    place = affordable(items, seed, lambda _: None)
    identity, unit = items.identity[place], np.unique(items.unit[place], return_inverse=True)[1]
    group = items.group[place]
    columns = [identity, unit, group] if chosen.hard is not None else [identity, unit]
    enrolled = np.unique(np.stack(columns), axis=1, return_inverse=True)[1].ravel()
    vectors = embedded.rows.vectors[place]
    drawn = draw_references(similarity_matrix(vectors, vectors, metric), enrolled, k, seed)
    a, b = unit[drawn.reference], unit[drawn.probe]
    alike = identity[drawn.reference] == identity[drawn.probe]
    types = {"random": ~alike & (a != b)}
    if chosen.hard is not None:
        types["hard"] = types["random"] & (group[drawn.reference] == group[drawn.probe])
    for name, mask in types.items():
        types[name] = _compared(mask, a, b, single, name)
        if not types[name].any():
            raise CommandError(f"references: {k} of them leave no impostor of type {name}")
    return {
        how: Scores(
            single.units,
            GenuineScores.between(score[alike], a[alike], b[alike]),
            {
                name: PairScores(score[mask], a[mask], b[mask], within_groups=single.impostors[name].within_groups)
                for name, mask in types.items()
            },
        )
        for how, score in drawn.score.items()
    }


def _compared(mask: Mask, a: Numbers, b: Numbers, single: Scores, name: str) -> Mask:
    """The comparisons of a type whose unit pairs are compared one by one too, where not all of them are."""
    count = single.units.count
    if count * (count - 1) // 2 <= MAX_UNIT_PAIRS:
        return mask
    pairs = single.impostors[name]
    seen = np.zeros((count, count), np.bool_)
    seen[pairs.unit_a, pairs.unit_b] = seen[pairs.unit_b, pairs.unit_a] = True
    return np.asarray(mask & seen[a, b])
