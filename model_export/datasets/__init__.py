"""Readers of data sets: labelled items in the forms that the service takes, so that one preparation serves all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item


@dataclass(frozen=True)
class LabelledItems:
    """Items with what they are (identity), whose they are (unit) and where they come from (group, source).

    identity, unit, group, source: int64 (items,). `identity` says which items match; `unit` is the independent source
    that is counted (a character, a speaker, a person), often the identity itself; `group` bounds the hard impostors
    (same alphabet, same domain); `source` tells recordings of one origin apart (a drawer, a day). `cohorts` are further
    kinds of units whose figures are tabled apart: kind (sex, age) -> the value of each item (items,), one a unit.
    """

    items: list[Item]
    identity: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    group_names: tuple[str, ...]
    cohorts: Mapping[str, npt.NDArray[np.str_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def select(self, mask: npt.NDArray[np.bool_]) -> LabelledItems:
        """The items where `mask` is true, in order."""
        chosen = np.flatnonzero(mask)
        return LabelledItems(
            [self.items[i] for i in chosen],
            self.identity[chosen],
            self.unit[chosen],
            self.group[chosen],
            self.source[chosen],
            self.group_names,
            {kind: values[chosen] for kind, values in self.cohorts.items()},
        )


@dataclass(frozen=True)
class Run:
    """One one-shot run: `tests[i]` matches `training[answer[i]]` and none of the other `training` items."""

    tests: list[Item]
    training: list[Item]
    answer: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """A data set cut by unit: none is in two parts; populations.read_splits checks it.

    `training` moves the weights and `validation` watches; `calibration` chooses thresholds and `test` verifies them.
    Where units are few, `test` is None: one pool is held out, and verification is cross-fitted inside it.
    `runs` are one-shot trials on test identities, where the set has such a protocol. `units_train` says that measured
    units did train (a set's official parts, classes known): figures then, but no evidence. Validation may be made of
    training identities where nothing is chosen by it.
    """

    training: LabelledItems
    validation: LabelledItems
    calibration: LabelledItems
    test: LabelledItems | None
    test_population: str
    runs: tuple[Run, ...] = ()
    units_train: bool = False


@dataclass(frozen=True)
class OtherPopulation:
    """Items that neither train nor choose anything: what a recipe's `[[external]]` section measures beside its own.

    `imitates`, int64 (items,), is the identity that an item was made to pass for, -1 for an item that is what it looks
    like; the unit of an imitation is who made it, and its identity is of no other item.
    """

    items: LabelledItems
    imitates: npt.NDArray[np.int64]
