"""Pictures for the tiny bundle of tests/tiny.py: a faint mark of an identity under strong stains that any may have.

The bundle's projection minds the stains as much as the marks; a head can learn not to.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny import SCALE, SIDE

STAINS = 4


def mark_png(identity: int, variant: int) -> bytes:
    """24x24 PNG of an identity under stains of the variant's own strength."""
    mark = np.random.default_rng([3, identity]).normal(0, 1, SIDE * SIDE)
    stains = np.random.default_rng(3).normal(0, 1, (STAINS, SIDE * SIDE))
    strength = np.random.default_rng([3, identity, variant]).normal(0, 1, STAINS)
    pixels = 128 + 16 * mark + 24 * strength @ stains
    picture = np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(SIDE, SIDE)
    file = io.BytesIO()
    Image.fromarray(np.kron(picture, np.ones((SCALE, SCALE), np.uint8))).save(file, "PNG")
    return file.getvalue()


def write_marks(folder: Path, identities: int = 48, each: int = 4, *, shuffled: bool = False) -> Path:
    """A folder an identity; `shuffled` deals the pictures to the folders at random, so that no label is true."""
    places = np.arange(identities * each)
    if shuffled:
        places = np.random.default_rng(5).permutation(places)
    for number, place in enumerate(places.tolist()):
        own = folder / f"mark {number // each}"
        own.mkdir(parents=True, exist_ok=True)
        (own / f"{number % each}.png").write_bytes(mark_png(place // each, place % each))
    return folder
