"""What the look at one's own items gives: the sections of a recipe that depend on what the items are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.core.modalities.base import Item

LOOKED_AT = 200
"""Items that are looked at, spread evenly over all."""


@dataclass(frozen=True)
class Small:
    """The small network of a modality: sections of a recipe by their fields; `seen` says why, for its reader."""

    seen: str
    params: Mapping[str, Any]
    encoder: Mapping[str, Any]
    augmentation: Mapping[str, Any]
    tokenizer: Mapping[str, Any] | None = None
    batch: tuple[int, int] = (16, 4)
    """Identities, and items of each, in a batch, where the data has as many."""
    temperature: float = 0.1
    optimiser: Mapping[str, Any] = field(
        default_factory=lambda: {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-3}
    )


def some(items: Sequence[Item]) -> Iterator[Item]:
    """The items that are looked at."""
    for place in np.unique(np.linspace(0, len(items) - 1, LOOKED_AT).astype(int)).tolist():
        yield items[place]
