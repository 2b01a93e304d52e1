"""Readers of data sets: labelled items in the forms that the service takes, so that one preparation serves all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from model_export.datasets.item_files import Items

Numbers = npt.NDArray[np.int64]
HELD_OUT = "held out"


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of items that somebody labelled: places a and b among the items, label bool (they match), all (pairs,).

    `kind` is the impostor type of a pair that does not match, "" of one that does; `words` says what each type is.
    """

    a: Numbers
    b: Numbers
    label: npt.NDArray[np.bool_]
    kind: npt.NDArray[np.str_]
    words: Mapping[str, str]

    def select(self, places: Numbers, items: int) -> LabelledPairs:
        """The pairs whose items are both at `places` (chosen,) of `items`, by their numbers there."""
        number = np.full(items, -1, np.int64)
        number[places] = np.arange(len(places))
        a, b = number[self.a], number[self.b]
        kept = (a >= 0) & (b >= 0)
        return LabelledPairs(a[kept], b[kept], self.label[kept], self.kind[kept], self.words)


@dataclass(frozen=True)
class LabelledItems:
    """Items with what they are (identity), whose they are (unit) and where they come from (group, source).

    identity, unit, group, source: int64 (items,). `identity` says which items match; `unit` is the independent source
    that is counted (a character, a speaker, a person), often the identity itself; `group` bounds the hard impostors
    (same alphabet, same domain); `source` tells recordings of one origin apart (a drawer, a day).

    `names` are what a message calls the items by (a file, a row); empty where a reader has none. `pairs`, where
    comparisons themselves are labelled, are those that are measured in place of all. `cohorts` are further kinds of
    units whose figures are tabled apart: kind (sex, age) -> the value of each item (items,), one a unit.
    """

    items: Sequence[Item]
    identity: Numbers
    unit: Numbers
    group: Numbers
    source: Numbers
    group_names: tuple[str, ...]
    names: tuple[str, ...] = ()
    pairs: LabelledPairs | None = None
    cohorts: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def name(self, place: int) -> str:
        """What a message calls the item at `place`."""
        return self.names[place] if self.names else f"item {place}"

    def select(self, mask: npt.NDArray[np.bool_]) -> LabelledItems:
        """The items where `mask` is true, in order; items that are read when asked for stay so."""
        chosen = np.flatnonzero(mask)
        places, items = chosen.tolist(), self.items
        return LabelledItems(
            items.pick(places) if isinstance(items, Items) else [items[i] for i in places],
            self.identity[chosen],
            self.unit[chosen],
            self.group[chosen],
            self.source[chosen],
            self.group_names,
            tuple(self.names[i] for i in places) if self.names else (),
            self.pairs and self.pairs.select(chosen, len(self)),
            {kind: values[chosen] for kind, values in self.cohorts.items()},
        )


@dataclass(frozen=True)
class Run:
    """One one-shot run: `tests[i]` matches `training[answer[i]]` and none of the other `training` items."""

    tests: Sequence[Item]
    training: Sequence[Item]
    answer: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """A data set cut by unit: none is in two parts; populations.read_splits checks it.

    `training` moves the weights and `validation` watches; `calibration` chooses thresholds and `test` verifies them.
    Where units are few, `test` is None: one pool is held out, and verification is cross-fitted inside it.
    `runs` are one-shot trials on test identities, where the set has such a protocol. `units_train` says that measured
    units did train (a set's official parts, classes known): figures then, but no evidence. Validation may be made of
    training identities where nothing is chosen by it. `frozen` says that nothing trains: training and validation are
    empty. `dropped` says for the card, a line each, what was left out
    because another part holds a copy of it.
    """

    training: LabelledItems
    validation: LabelledItems
    calibration: LabelledItems
    test: LabelledItems | None
    test_population: str
    runs: tuple[Run, ...] = ()
    units_train: bool = False
    frozen: bool = False
    dropped: Sequence[str] = ()

    def parts(self) -> dict[str, LabelledItems]:
        """The parts by name, in the order in which they are used; calibration without a test part is `held out`."""
        named = {"training": self.training, "validation": self.validation}
        if self.test is None:
            return named | {HELD_OUT: self.calibration}
        return named | {"calibration": self.calibration, "test": self.test}

    def with_parts(self, parts: Mapping[str, LabelledItems], dropped: Sequence[str]) -> Splits:
        """The same with other parts, all of them by name, and with what was left out."""
        training, validation = parts["training"], parts["validation"]
        calibration = parts[HELD_OUT if self.test is None else "calibration"]
        changed = replace(self, training=training, validation=validation, calibration=calibration)
        return replace(changed, test=parts.get("test"), dropped=tuple(dropped))


@dataclass(frozen=True)
class OtherPopulation:
    """Items that neither train nor choose anything: what a recipe's `[[external]]` section measures beside its own.

    `imitates`, int64 (items,), is the identity that an item was made to pass for, -1 for an item that is what it looks
    like; the unit of an imitation is who made it, and its identity is of no other item.
    """

    items: LabelledItems
    imitates: npt.NDArray[np.int64]
