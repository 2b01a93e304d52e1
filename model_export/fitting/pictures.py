"""How one's own pictures are prepared, and their small network: as in recipes/groceries and recipes/signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from app.core.modalities.base import Item
from model_export.errors import CommandError
from model_export.fitting.small import Small, some

COLOURFUL = 6.0
"""Levels by which the channels of a picture in colour differ, on average over its pixels."""
FEW, MOST = 0.1, 0.5
"""All pictures count as coloured where more than few are, and as ink on paper where most are."""
PAPER, LIGHT = 170, 0.6
"""A picture is ink on paper where this share of its edge is at least so light, in levels."""
PHOTOGRAPH_SIDE, INK_SIDE, STEP = 64, 80, 16
OBLONG, MOST_OBLONG = 1.4, 4.0
"""Beyond the first ratio of the sides the network's picture is oblong too, up to the second."""


@dataclass(frozen=True)
class _Seen:
    """Of one picture: width, height, whether in colour, whether ink on paper."""

    width: int
    height: int
    colour: bool
    ink: bool


def look(items: Sequence[Item]) -> Small:
    """Raises CommandError where none of those looked at can be opened."""
    seen = [one for item in some(items) if (one := _see(item)) is not None]
    if not seen:
        raise CommandError("of the pictures looked at none can be opened; DICOM takes a recipe of your own")
    colour = bool(np.mean([one.colour for one in seen]) > FEW)
    ink = not colour and bool(np.mean([one.ink for one in seen]) > MOST)
    width, height = (int(np.median([getattr(one, side) for one in seen])) for side in ("width", "height"))
    size = _size(width, height, INK_SIDE if ink else PHOTOGRAPH_SIDE)
    words = "ink on paper" if ink else "in colour" if colour else "grey"
    return Small(
        seen=f"{words}, {width} x {height} pixels (medians of {len(seen)} looked at)",
        params={
            "mode": "RGB" if colour else "L",
            "width": size[0],
            "height": size[1],
            "fit": "pad" if ink else "crop",
            "resample": "bilinear",
            "antialias": True,
            "background": 255,
            "orientation": "exif",
            "sixteen_bit": "divide_257",
            "contrast": "paper" if ink else "none",
            "min_contrast": 16,
            "jpeg": "scaled",
        },
        encoder=_encoder(size, ink=ink),
        augmentation=_ink_augmentation() if ink else _photograph_augmentation(colour=colour),
        batch=(20, 4) if ink else (12, 4),
        optimiser={"name": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-3 if ink else 1e-2},
    )


def _see(item: Item) -> _Seen | None:
    try:
        with Image.open(BytesIO(item["bytes"])) as picture:
            width, height = picture.size
            pixels: npt.NDArray[np.uint8] = np.asarray(picture.convert("RGB").resize((48, 48), Image.Resampling.BOX))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # the search for copies tells of it, with its name
    levels = pixels.astype(np.float64)
    edge = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]]).mean(axis=1)
    colour = float(np.ptp(levels, axis=2).mean()) > COLOURFUL
    return _Seen(width, height, colour, float((edge >= PAPER).mean()) >= LIGHT)


def _size(width: int, height: int, side: int) -> tuple[int, int]:
    """What the network takes: `side` squared pixels or about as many, and no more than the pictures have."""
    side = max(STEP, min(side, STEP * (max(width, height) // STEP)))
    ratio = width / height
    if 1 / OBLONG <= ratio <= OBLONG:
        return side, side
    ratio = min(MOST_OBLONG, max(1 / MOST_OBLONG, ratio))
    across, down = (max(STEP, STEP * round(side * ratio**power / STEP)) for power in (0.5, -0.5))
    return across, down


def _encoder(size: tuple[int, int], *, ink: bool) -> dict[str, object]:
    own: dict[str, object] = {"name": "residual", "blocks": 1, "halve_first": min(size) >= 48}
    if ink:
        return own | {"stages": [24, 48, 96, 128], "pooling": "flatten", "dropout": 0.2, "dimension": 128}
    return own | {"stages": [24, 48, 96], "pooling": "mean", "dimension": 64}


def _ink_augmentation() -> dict[str, object]:
    own = {"rotation_degrees": 6, "shear_degrees": 8, "scale": 0.12, "shift": 0.06, "thickness": 0.5}
    return {"kind": "picture", **own}


def _photograph_augmentation(*, colour: bool) -> dict[str, object]:
    """Not mirrored: what is to be told apart may be a hand, a word or a side."""
    own = {"kind": "photograph", "crop": 0.3, "brightness": 0.3, "contrast": 0.3}
    return own | ({"saturation": 0.3} if colour else {})
