"""All comparisons of labelled items: which pairs are genuine, which are impostors of which type, and their units.

A genuine pair has one identity; where its items are of two units (a word said by two speakers) it counts for each of
them. A `random` impostor pair has two identities and two units, a `hard` one is also of one group. Where units come in
groups (characters of an alphabet) the bounds draw groups first; where each unit has items of every group (a writer's
names) units are independent, and are drawn alone.

Where pairs themselves are labelled, the genuine pairs are those labelled so, and the others are impostors of their own
types; a random pair is then one that nobody labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.core.evidence import GenuineScores, PairScores, Units
from app.core.scoring import Float32, Metric, similarity_matrix
from model_export.datasets import LabelledItems, LabelledPairs
from model_export.errors import CommandError
from model_export.measure import Embedded
from model_export.recipe import Calibration

MAX_ITEMS = 8000
"""Items compared with one another: 32 million pairs, about 3 GB while they are measured."""
MAX_UNIT_PAIRS = 500_000
"""Unit pairs of a type that are compared: each is a row of some 400 shares, 0.8 GB in all."""
HARDEST = 50
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """All comparisons of a population: genuine pairs, and impostor pairs by type, with their units.

    `kinds` are parts of the genuine pairs that are tabled apart (same_day, other_day). `hardest` are rows of a table,
    the highest impostor and the lowest genuine scores: numbers only, never an item. `unit_ids` (units,) are the
    reader's numbers of the units, where it has any.
    """

    units: Units
    genuine: GenuineScores
    impostors: Mapping[str, PairScores]
    kinds: Mapping[str, GenuineScores] = field(default_factory=dict)
    hardest: Sequence[Mapping[str, str]] = ()
    unit_ids: Places | None = None


def score_all_pairs(
    embedded: Embedded,
    metric: Metric,
    chosen: Calibration,
    *,
    seed: int,
    others: Float32 | None = None,
    tell: Callable[[str], None] = print,
) -> Scores:
    """Compare every item with every other, as the recipe's `calibration` says; what is left out is told.

    Beyond MAX_ITEMS items, some of each identity are drawn; beyond MAX_UNIT_PAIRS, some unit pairs. Groups enter the
    draws of the bounds only where hard impostors are measured. `others`: vectors of the same items changed somehow;
    then the first item of each pair is as it was, the second one changed. Raises CommandError where there is no pair
    of a kind that the recipe asks for.
    """
    place = affordable(embedded.items, seed, tell)
    items, numbers = embedded.items, embedded.places[place]
    ids, unit = np.unique(items.unit[place], return_inverse=True)
    count = len(ids)
    if count < 2:
        raise CommandError(f"an error rate needs at least two units; there is one {chosen.unit}")
    vectors = embedded.rows.vectors
    pairs = _Pairs.of(vectors[place], (vectors if others is None else others)[place], unit, metric)
    alike, same = pairs.equal(items.identity[place]), pairs.equal(items.source[place])
    types, group = {"random": ~alike & pairs.apart}, None
    if items.pairs is not None:
        alike, types = pairs.labelled(items.pairs.select(place, len(items)), types["random"])
    if not alike.any():
        raise CommandError("there is no genuine pair: no identity has two items")
    if items.pairs is None and (within := int((~alike & ~pairs.apart).sum())):
        tell(f"{within} pairs of two identities within one {chosen.unit} are left out: impostors have two units")
    if chosen.hard is not None and chosen.grouped == "units":
        group = _group_of(unit, items.group[place], chosen.unit)
        types["hard"] = types["random"] & (group[pairs.unit_a] == group[pairs.unit_b])
    elif chosen.hard is not None:
        types["hard"] = types["random"] & pairs.equal(_several(items.group[place]))
    for name, mask in types.items():
        types[name] = _affordable_pairs(mask, pairs, count, name, seed=seed, tell=tell)
        if not mask.any():
            raise CommandError(f"there is no impostor pair of type {name}")
    kinds = {}
    for kind, mask in ((chosen.same_source, alike & same), (chosen.other_source, alike & ~same)):
        if kind is not None and mask.any():
            kinds[kind] = pairs.genuine(mask)
        elif kind is not None:
            tell(f"there is no genuine pair of kind {kind}, so that it is not tabled")
    return Scores(
        Units(count, group),
        pairs.genuine(alike),
        {
            name: pairs.impostor(mask, within_groups=name == "hard" and group is not None)
            for name, mask in types.items()
        },
        kinds,
        [row for kind, mask in {"genuine": alike, **types}.items() for row in pairs.hardest(kind, mask, numbers)],
        ids,
    )


@dataclass(frozen=True)
class _Pairs:
    """Each unordered pair of items once: their places, score and units, all of one length."""

    first: npt.NDArray[np.int32]
    second: npt.NDArray[np.int32]
    score: Float32
    unit_a: npt.NDArray[np.int32]
    unit_b: npt.NDArray[np.int32]

    @classmethod
    def of(cls, vectors: Float32, others: Float32, unit: Places, metric: Metric) -> _Pairs:
        first, second = (side.astype(np.int32) for side in np.triu_indices(len(vectors), k=1))
        score = similarity_matrix(vectors, others, metric)[first, second]
        return cls(first, second, score, unit[first].astype(np.int32), unit[second].astype(np.int32))

    @property
    def apart(self) -> Mask:
        """Whether the items of each pair are of two units."""
        return np.asarray(self.unit_a != self.unit_b)

    def equal(self, values: Places) -> Mask:
        """Whether both items of each pair have one value (items,); by small numbers, since pairs are millions."""
        number = np.unique(values, return_inverse=True)[1].astype(np.int32)
        return np.asarray(number[self.first] == number[self.second])

    def labelled(self, known: LabelledPairs, random: Mask) -> tuple[Mask, dict[str, Mask]]:
        """Which pairs are labelled as matching, and which are impostors of which type.

        A type of the table that is called random stands in place of `random`.
        """
        count = int(self.second.max()) + 1
        low, high = np.minimum(known.a, known.b), np.maximum(known.a, known.b)
        at = low * (2 * count - low - 1) // 2 + high - low - 1  # the order of triu_indices
        genuine, unlabelled = np.zeros(len(self.score), np.bool_), np.ones(len(self.score), np.bool_)
        genuine[at[known.label]] = True
        unlabelled[at] = False
        types = {"random": random & unlabelled}
        for kind in known.words:
            types[kind] = np.zeros_like(genuine)
            types[kind][at[~known.label & (known.kind == kind)]] = True
            types[kind] &= self.apart
        return genuine, types

    def impostor(self, mask: Mask, *, within_groups: bool) -> PairScores:
        return PairScores(self.score[mask], self.unit_a[mask], self.unit_b[mask], within_groups=within_groups)

    def genuine(self, mask: Mask) -> GenuineScores:
        """Pairs of two units twice, once for each."""
        return GenuineScores.between(self.score[mask], self.unit_a[mask], self.unit_b[mask])

    def hardest(self, kind: str, mask: Mask, numbers: Places) -> Iterator[dict[str, str]]:
        """Rows of hardest.csv; `numbers` (items,) are the items' places in what the reader gave."""
        for at in hardest(self.score, mask, lowest=kind == "genuine"):
            a, b = numbers[self.first[at]], numbers[self.second[at]]
            yield {"kind": kind, "score": f"{self.score[at]:.6f}", "item_a": str(a), "item_b": str(b)}


def hardest(score: Float32, mask: Mask, *, lowest: bool) -> Places:
    """Places of the 50 lowest or highest scores where `mask` is true, the hardest first."""
    places = np.flatnonzero(mask)
    order = score[places] if lowest else -score[places]
    if len(order) > HARDEST:
        near = np.argpartition(order, HARDEST)[:HARDEST]
        places, order = places[near], order[near]
    return places[np.argsort(order, kind="stable")]


def _group_of(unit: Places, group: Places, word: str) -> Places:
    """The group of each unit, int64 (units,), numbered from 0. Raises CommandError unless each has one, of several."""
    number = np.unique(group, return_inverse=True)[1]
    result = np.zeros(int(unit.max()) + 1, np.int64)
    result[unit] = number
    if (result[unit] != number).any():
        raise CommandError(f"calibration.hard: a {word} has items of two groups; hard impostors need one group a unit")
    if number.max() == 0:
        raise CommandError("calibration.hard: all items are of one group, so that no pair is harder than a random one")
    return result


def _several(group: Places) -> Places:
    """The groups, as given. Raises CommandError where there is one only."""
    if len(np.unique(group)) < 2:
        raise CommandError("calibration.hard: all items are of one group, so that no pair is harder than a random one")
    return group


def affordable(items: LabelledItems, seed: int, tell: Callable[[str], None], *, most: int = MAX_ITEMS) -> Places:
    """Places of the items that are compared: all, or at most so many of each identity and unit, or of some units."""
    count = len(items)
    if count <= most:
        return np.arange(count)
    shuffled = np.random.default_rng(seed).permutation(count)
    # 0 for an item drawn first of its identity and unit, 1 for the second, ...
    label = np.unique(np.stack([items.identity, items.unit]), axis=1, return_inverse=True)[1].ravel()[shuffled]
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    turn = np.empty(count, np.int64)
    turn[order] = np.arange(count) - np.repeat(starts, np.diff(starts, append=count))
    each = max(2, int(np.searchsorted(np.cumsum(np.bincount(turn)), most, side="right")))
    kept = shuffled[turn < each]
    if len(kept) > most:
        names, unit = np.unique(items.unit[kept], return_inverse=True)
        rank = np.random.default_rng(seed).permutation(len(names))
        sizes = np.bincount(rank[unit])
        kept = kept[rank[unit] < max(2, int(np.searchsorted(np.cumsum(sizes), most, side="right")))]
    tell(f"{len(kept)} of {count} items are compared: at most {each} of each identity and unit, drawn by the seed")
    return np.sort(kept)


def _affordable_pairs(
    mask: Mask, pairs: _Pairs, units: int, name: str, *, seed: int, tell: Callable[[str], None]
) -> Mask:
    """The pairs of a type that are compared: all, or those of a share of the unit pairs."""
    if units * (units - 1) // 2 <= MAX_UNIT_PAIRS:
        return mask
    seen = np.zeros((units, units), np.bool_)
    low, high = np.minimum(pairs.unit_a, pairs.unit_b), np.maximum(pairs.unit_a, pairs.unit_b)
    seen[low[mask], high[mask]] = True
    compared = np.flatnonzero(seen)
    if len(compared) <= MAX_UNIT_PAIRS:
        return mask
    seen[...] = False
    seen.reshape(-1)[np.random.default_rng(seed).permutation(compared)[:MAX_UNIT_PAIRS]] = True
    tell(f"{MAX_UNIT_PAIRS} of {len(compared)} unit pairs of type {name} are compared, drawn by the seed")
    return np.asarray(mask & seen[low, high])
