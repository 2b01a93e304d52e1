"""AT&T Database of Faces (Samaria and Harter 1994): forty people, ten photographs each, as PNG items; to be measured.

Expects faces.npz; see the set's own README for the arrays. Identity = unit = person. The pictures are faces already cut
out, upright and of one size.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, OtherPopulation
from model_export.datasets.pictures import to_png


def read_population(folder: Path) -> OtherPopulation:
    """All photographs of the copy."""
    with np.load(folder / "faces.npz", allow_pickle=False) as arrays:
        images, person, shot = arrays["images"], arrays["subject"].astype(np.int64), arrays["shot"].astype(np.int64)
    pictures: list[Item] = [{"bytes": to_png(image)} for image in images]
    items = LabelledItems(pictures, person, person, np.zeros_like(person), shot, ("people",))
    return OtherPopulation(items, np.full(len(items), -1, np.int64))
