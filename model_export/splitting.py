"""One's own data cut into parts: by identity, by unit or by group as the recipe says, and never by item or pair.

What is never parted is a block: the items that share an identity (and a unit, where units are named; and a group, where
the recipe cuts by group), directly or through others. A block goes where the hash of the seed and of its own name
(its group's, its unit's, else its identity's; the first in alphabetical order of several) falls among the shares. So no
block that is measured depends on what other blocks there are: data added later moves nothing that trained into what is
measured, nor back. The price is that these shares hold on average only; what they came to is printed. Which of the
others watch the training may change, since nothing is measured on them. Where the data names parts of its own, those
hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from model_export.datasets import LabelledItems, Splits
from model_export.datasets.listing import Listing, Names
from model_export.errors import CommandError
from model_export.recipe.own_data import OwnChoice, OwnData

PARTS = ("training", "validation", "calibration", "test")
OFFICIAL = {"train": "training", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other names of parts that data may use; PARTS themselves are understood too."""
FEW_UNITS = 25
"""Units below which calibration and test are one pool: 25 have the 300 pairs that an FMR of 1e-2 takes."""
FEWEST_WATCH = 3
TEST_OF_FROZEN = 0.5
"""Share of the units that verify where none trains."""
SHOWN = 3


def cut(listing: Listing, data: OwnChoice) -> Splits:
    """The parts, by the data's own names of them, else by the shares; all of it measured where the data is frozen.

    Raises CommandError where they cannot be had.
    """
    split_by = data.split_by
    blocks, names = _blocks(listing, split_by)
    pooled: bool | None
    if data.frozen:
        part, pooled = _all_measured(listing, data, names)[blocks], data.one_pool
    elif listing.split is not None:
        part, pooled = _official(listing, data, names[blocks], split_by)
    else:
        part, pooled = _by_shares(listing, data, names)[blocks], data.one_pool
    everything = _labelled(listing)
    if pooled is None:
        held_out = (everything.unit[part == PARTS.index(name)] for name in ("calibration", "test"))
        pooled = min(len(np.unique(unit)) for unit in held_out) < FEW_UNITS
    if pooled or (data.shares.test == 0 and not data.frozen):
        part[part == PARTS.index("test")] = PARTS.index("calibration")
        pooled = True
    parts = {name: everything.select(part == place) for place, name in enumerate(PARTS)}
    if listing.pairs is not None:
        lost = len(listing.pairs.label) - sum(len(one.pairs.label) for one in parts.values() if one.pairs is not None)
        if lost:
            print(f"{lost} labelled pairs run across parts and are left out")
    what = "units" if listing.unit is not None else "groups of matching items" if listing.pairs else "identities"
    measured = parts["calibration"] if pooled else parts["test"]
    count = len(np.unique(measured.unit))
    return Splits(
        training=parts["training"],
        validation=parts["validation"],
        calibration=parts["calibration"],
        test=None if pooled else parts["test"],
        test_population=f"{count} {what} that did not train" + (", cross-fitted" if pooled else ""),
        frozen=data.frozen,
    )


def check_parts(splits: Splits, origin: str) -> None:
    """Raise CommandError, naming the part, where one cannot do its work: nothing matches, or nothing tells apart."""
    for name, items in splits.parts().items():
        if splits.frozen and name in ("training", "validation"):
            continue
        _, counts = np.unique(items.identity, return_counts=True)
        has = f"{origin}: {name} has {len(items)} items of {len(counts)} identities"
        if len(counts) < 2:
            raise CommandError(f"{has}, and two at least are needed; change data.shares or data.seed, or bring more")
        if counts.max() < 2:
            raise CommandError(f"{has}, none with two; change data.shares or data.seed, or bring more items of each")
        if name in ("training", "validation"):
            continue
        if len(np.unique(items.unit)) < 2:
            raise CommandError(f"{has}, all of one unit; an error rate takes two at least")
        if items.pairs is not None:
            types = set(items.pairs.kind[~items.pairs.label].tolist())
            if missing := sorted(set(items.pairs.words) - types):
                raise CommandError(f"{origin}: {name} has no pair of type {missing[0]!r}; change data.seed")
            if not items.pairs.label.any():
                raise CommandError(f"{origin}: {name} has no matching pair; change data.seed or data.shares")


def _blocks(listing: Listing, split_by: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """The block of each item, int64 (items,), and the name of each block, str (blocks,)."""
    levels = {"identity": listing.identity, "unit": listing.unit, "group": listing.group}
    named = levels[split_by]
    if named is None:
        raise CommandError(f"data.split_by: {listing.origin} names no {split_by}")
    if split_by == "unit":
        names, block = np.unique(np.array(named), return_inverse=True)
        return block.astype(np.int64), names
    joined = [listing.identity] + ([listing.unit] if listing.unit is not None else [])
    joined += [named] if split_by == "group" else []
    block = _joined(joined)
    called = np.array(named if split_by == "group" else listing.unit or listing.identity)
    order = np.lexsort((called, block))
    first = np.flatnonzero(np.diff(block[order], prepend=-1))
    return block, called[order][first]


def _joined(levels: list[Names]) -> npt.NDArray[np.int64]:
    """The connected components of items that share a name at any level, int64 (items,), numbered from 0."""
    items = len(levels[0])
    numbers, total = [], items
    for names in levels:
        number = np.unique(np.array(names), return_inverse=True)[1]
        numbers.append(number + total)
        total += int(number.max()) + 1
    rows = np.tile(np.arange(items), len(levels))
    graph = coo_array((np.ones(len(rows)), (rows, np.concatenate(numbers))), (total, total))
    component = connected_components(graph, directed=False)[1][:items]
    return np.asarray(np.unique(component, return_inverse=True)[1], np.int64)


def _by_shares(listing: Listing, data: OwnData, names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """The part of each block, int64 (blocks,). Raises CommandError where everything is one block."""
    if len(names) == 1:
        raise CommandError(
            f"{listing.origin}: its identities, units and groups hang together in one piece, so that nothing can be "
            'held out; data.split_by = "unit" lets identities be in several parts, and "identity" disregards groups'
        )
    shares = data.shares
    place = np.array([_place(data.seed, name) for name in names.tolist()])
    part = np.full(len(names), PARTS.index("training"))
    part[place < shares.test + shares.calibration] = PARTS.index("calibration")
    part[place < shares.test] = PARTS.index("test")
    _watch(part, place, shares.validation)
    return part


def _all_measured(listing: Listing, data: OwnData, names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """The part of each block, int64 (blocks,), where nothing trains: half of them test, the others calibrate."""
    if listing.split is not None:
        print("the parts that the data names are not used: nothing trains, so all of it is measured")
    place = np.array([_place(data.seed, name) for name in names.tolist()])
    return np.where(place < TEST_OF_FROZEN, PARTS.index("test"), PARTS.index("calibration"))


def _watch(part: npt.NDArray[np.int64], place: npt.NDArray[np.float64], share: float) -> None:
    """Turn training blocks into validation, those of lowest place: the share of all blocks, three at least, and at most
    half of those that train; all (blocks,).
    """
    training = np.flatnonzero(part == PARTS.index("training"))
    count = min(max(FEWEST_WATCH, round(share * len(part))), len(training) // 2)
    part[training[np.argsort(place[training], kind="stable")[:count]]] = PARTS.index("validation")


def _place(seed: int, name: str) -> float:
    """Where a name falls in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:7]) / 2**56


def _official(
    listing: Listing, data: OwnData, called: npt.NDArray[np.str_], split_by: str
) -> tuple[npt.NDArray[np.int64], bool]:
    """The part of each item as the data says, int64 (items,), and whether what is held out is one pool.

    Without a validation part, the validation share of the training blocks watches; with one of calibration and test
    only, that is the pool.
    """
    assert listing.split is not None
    part = np.empty(len(listing.split), np.int64)
    for place, said in enumerate(listing.split):
        name = OFFICIAL.get(said.lower(), said.lower())
        if name not in PARTS:
            raise CommandError(f"{listing.origin}: {listing.names[place]}: {said!r} is no part; say {', '.join(PARTS)}")
        part[place] = PARTS.index(name)
    there = {PARTS[number] for number in np.unique(part).tolist()}
    if "training" not in there or not there & {"calibration", "test"}:
        raise CommandError(f"{listing.origin}: split names {', '.join(sorted(there))}; training and test are needed")
    if idle := data.shares.model_fields_set & ({"calibration", "test"} | (there & {"validation"})):
        raise CommandError(f"data.shares.{min(idle)}: does not count where the data names its parts; leave it out")
    _check_official(listing, part, split_by)
    if "validation" not in there:
        _, first, block = np.unique(called, return_index=True, return_inverse=True)
        by_block = part[first]
        _watch(by_block, np.array([_place(data.seed, name) for name in called[first].tolist()]), data.shares.validation)
        part = by_block[block]
    if len(there & {"calibration", "test"}) == 1:
        return part, True
    return part, bool(data.one_pool)


def _check_official(listing: Listing, part: npt.NDArray[np.int64], split_by: str) -> None:
    """Raise CommandError for identities, units or groups of several parts, with the first of them."""
    levels: Mapping[str, Names | None] = {
        "identity": None if split_by == "unit" else listing.identity,
        "unit": listing.unit,
        "group": listing.group if split_by == "group" else None,
    }
    for level, names in levels.items():
        parts: dict[str, set[int]] = {}
        for name, number in zip(names or (), part.tolist(), strict=names is not None):
            parts.setdefault(name, set()).add(number)
        if several := [name for name, numbers in parts.items() if len(numbers) > 1]:
            first = ", ".join(repr(name) for name in several[:SHOWN])
            hint = '; data.split_by = "unit" allows that, for units that are not' if level == "identity" else ""
            raise CommandError(
                f"{listing.origin}: split puts one {level} in several parts, {len(several)} times ({first}){hint}"
            )


def _labelled(listing: Listing) -> LabelledItems:
    """The listing by numbers; without groups all are of one, without sources each item is its own."""
    identity = np.unique(np.array(listing.identity), return_inverse=True)[1].astype(np.int64)
    groups, group = np.unique(np.array(listing.group or ("",) * len(identity)), return_inverse=True)
    return LabelledItems(
        items=listing.items,
        identity=identity,
        unit=_numbers(listing.unit, identity),
        group=group.astype(np.int64),
        source=_numbers(listing.source, np.arange(len(identity))),
        group_names=tuple(groups.tolist()),
        names=listing.names,
        pairs=listing.pairs,
    )


def _numbers(names: Names | None, otherwise: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return otherwise if names is None else np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
