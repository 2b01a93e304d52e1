"""Readers of data sets: labelled items in the forms that the service takes, so that one preparation serves all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item


@dataclass(frozen=True)
class LabelledItems:
    """Items with what they are (identity) and where they come from (group, source).

    identity, group, source: int64 (items,). `identity` says which items match; `group` bounds the hard impostors
    (same alphabet, same name); `source` tells recordings of one origin apart (a drawer, a session).
    """

    items: list[Item]
    identity: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    group_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)

    def select(self, mask: npt.NDArray[np.bool_]) -> LabelledItems:
        """The items where `mask` is true, in order."""
        chosen = np.flatnonzero(mask)
        return LabelledItems(
            [self.items[i] for i in chosen],
            self.identity[chosen],
            self.group[chosen],
            self.source[chosen],
            self.group_names,
        )
