"""Series made noisy and cut short. Missing values stay missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from model_export.robustness import Change


def _noisy(item: Item, percent: float, generator: np.random.Generator) -> Item:
    """Normal noise on every value; its standard deviation is a share of the channel's own."""
    values = _numbers(item)
    deviation = np.nanstd(values, axis=0) * percent / 100
    return {**item, "values": _rows(values + generator.normal(0, 1, values.shape) * deviation)}


def _cut(item: Item, percent: float, _: np.random.Generator) -> Item:
    """The beginning, so much less of it."""
    values = _numbers(item)
    return {**item, "values": _rows(values[: max(1, round(len(values) * (1 - percent / 100)))])}


def _numbers(item: Item) -> npt.NDArray[np.float64]:
    """(steps, channels), NaN where a value is missing."""
    return np.array(item["values"], np.float64)


def _rows(values: npt.NDArray[np.float64]) -> list[list[Any]]:
    return [[None if np.isnan(value) else value for value in row] for row in values.tolist()]


CHANGES = (
    Change("noise", "% of the channel's deviation", (5, 10, 20, 50), _noisy),
    Change("cut", "% of the steps", (10, 25, 50, 75), _cut),
)
