"""Sounds as small plots of their wave."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import soundfile

from app.core.modalities.base import Item
from model_export.showing.series import POINTS, draw_lines


def show(item: Item) -> str:
    """The outline of the wave, channels averaged. Raises RuntimeError for what is no sound that libsndfile reads."""
    samples, _ = soundfile.read(BytesIO(item["bytes"]), always_2d=True)
    parts = np.array_split(samples.mean(axis=1), min(POINTS // 2, len(samples)))
    outline = np.array([[part.min(), part.max()] for part in parts]).ravel()
    return draw_lines([outline])
