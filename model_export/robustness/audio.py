"""Sounds made noisy, quieter or louder, and cut short; written again as WAV of 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
import soundfile

from app.core.modalities.base import Item
from model_export.robustness import Change

Samples = npt.NDArray[np.float64]


def _changed(item: Item, change: Callable[[Samples], Samples]) -> Item:
    samples, rate = soundfile.read(BytesIO(item["bytes"]), always_2d=True)
    file = BytesIO()
    soundfile.write(file, np.clip(change(samples), -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return {**item, "bytes": file.getvalue()}


def _noisy(item: Item, decibels: float, generator: np.random.Generator) -> Item:
    """White noise, so many decibels below the sound's own mean power."""

    def change(samples: Samples) -> Samples:
        level = np.sqrt(np.mean(np.square(samples))) * 10 ** (-decibels / 20)
        return samples + generator.normal(0, level, samples.shape)

    return _changed(item, change)


def _louder(item: Item, decibels: float, _: np.random.Generator) -> Item:
    """Every sample times a factor; what is beyond full scale is clipped."""
    return _changed(item, lambda samples: samples * 10 ** (decibels / 20))


def _quieter(item: Item, decibels: float, generator: np.random.Generator) -> Item:
    return _louder(item, -decibels, generator)


def _cut(item: Item, percent: float, _: np.random.Generator) -> Item:
    """The beginning, so much less of it."""
    return _changed(item, lambda samples: samples[: max(1, round(len(samples) * (1 - percent / 100)))])


CHANGES = (
    Change("noise", "dB below the sound", (20, 10, 5, 0), _noisy),
    Change("quieter", "dB", (6, 12, 20, 30), _quieter),
    Change("louder", "dB", (6, 12, 20, 30), _louder),
    Change("cut", "% of the sound", (10, 25, 50), _cut),
)
