"""Pictures compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.core.modalities.base import Window
from model_export.floors.heartbeats import unit
from model_export.measure import Vectors


def pixels(windows: Sequence[Window]) -> Vectors:
    """Each picture's pixels, mean taken off, length 1: their product is a correlation. float32 (n, pixels)."""
    return np.stack([unit(window["pixels"].ravel()) for window in windows]).astype(np.float32)
