"""Electrocardiograms of invented people: a sum of five waves a beat. No heart made them.

A person is a number; it decides place, height and width of the waves. A day is another: it moves them a little, as an
electrode stuck elsewhere does. A take is a third: pulse, breathing and noise.
"""

from __future__ import annotations

import numpy as np

WAVES = {"P": (-0.17, 0.12, 0.022), "Q": (-0.026, -0.10, 0.008), "R": (0.0, 1.0, 0.010), "S": (0.028, -0.22, 0.010)}
WAVES |= {"T": (0.26, 0.28, 0.045)}
"""Seconds from the R peak, millivolts, and width in seconds, about as in lead I."""
Values = list[list[float | None]]


def record(person: int, day: int, take: int, seconds: float = 20.0, rate: float = 500.0) -> Values:
    """One channel in millivolts, (steps, 1)."""
    who, when = np.random.default_rng([83, person]), np.random.default_rng([83, person, day, 1])
    how = np.random.default_rng([83, person, day, take])
    time = np.arange(round(seconds * rate)) / rate
    peaks = np.cumsum(how.normal(how.uniform(0.75, 1.0), 0.02, round(seconds / 0.6)))
    signal = 0.05 * np.sin(2 * np.pi * how.uniform(0.2, 0.3) * time) + how.normal(0, 0.012, len(time))
    tall = who.uniform(0.6, 1.2)
    for place, height, width in WAVES.values():
        place_, height_ = place * who.uniform(0.85, 1.15), tall * height * who.lognormal(0, 0.5)
        width_ = width * who.uniform(0.75, 1.4)
        height_ *= when.lognormal(0, 0.1)
        for peak in peaks:
            signal += height_ * np.exp(-(((time - peak - place_) / width_) ** 2) / 2)
    values: Values = signal.round(4)[:, np.newaxis].tolist()
    return values


def with_gap(values: Values, start: int, steps: int) -> Values:
    """The same with some steps missing, as a transmitter that lost contact sends them."""
    return [[None] if start <= at < start + steps else row for at, row in enumerate(values)]
