"""Series made for the project: a beat with a drifting baseline, in each channel another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from app.core.modalities.series.params import Params

PROBES = 6


def probe_items(params: Params) -> list[Item]:
    """Series from the fewest steps to more than a window, gaps and another rate where taken."""
    longest = params.ladder[-1]
    most = min(params.max_steps, longest * 2 + longest // 3) if params.long == "window" else longest
    lengths = np.geomspace(params.min_steps, most, PROBES).round().astype(int)
    items: list[dict[str, Any]] = [
        {"values": beat(seed, int(length), len(params.channels)).tolist()} for seed, length in enumerate(lengths)
    ]
    if params.max_gap is not None:
        rows = items[1]["values"]
        rows[2] = [None] * len(params.channels)
        first = len(rows) // 2
        for row in rows[first : first + params.max_gap]:  # the longest that is taken
            row[0] = None
    if params.resample is not None and params.rate is not None and params.max_rate is not None:
        faster = min(params.max_rate, params.rate * 1.44)
        steps = int(longest * faster / params.rate)
        items.append({"values": beat(9, steps, len(params.channels)).tolist(), "rate": faster})
    return list(items)


def beat(seed: int, steps: int, channels: int) -> npt.NDArray[np.float64]:
    """Narrow peaks on a slow wave with noise, in numbers around 1: float64 (steps, channels), rounded to 4 digits."""
    rng = np.random.default_rng(seed)
    place = np.arange(steps)[:, np.newaxis]
    period, shift = rng.uniform(60, 400), rng.uniform(0, 1, channels)
    phase = (place / period + shift) % 1.0
    peaks = sum(
        rng.normal(0.4, 0.4) * np.exp(-(((phase - at) / rng.uniform(0.01, 0.05)) ** 2)) for at in (0.3, 0.42, 0.5, 0.7)
    )
    drift = 0.2 * np.sin(2 * np.pi * (place / (period * 5.3) + shift))
    return np.asarray((peaks + drift + rng.normal(0, 0.01, (steps, channels))).round(4))
