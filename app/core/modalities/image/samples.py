"""Samples of more than 8 bits a channel to 8 bits. No colours, no geometry."""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

from app.core.errors import UnusableInput

# Floor of (sample + 128) / 257: 65535 becomes 255, rounded to nearest. A table: one look-up, however large the picture.
EIGHT_BITS = ((np.arange(65536) + 128) // 257).astype(np.uint8)
EIGHT_BITS.flags.writeable = False

BITS_TAG, PHOTOMETRIC_TAG, WHITE_IS_ZERO = 258, 262, 0


def is_wide(picture: Image.Image) -> bool:
    """Whether samples have more than 8 bits. (Of 16-bit colour Pillow keeps the high byte: modes RGB and RGBA.)"""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def narrow(picture: Image.Image) -> Image.Image:
    """Bring one channel of 16 bits to mode L, dividing by 257; to LA where one level is declared transparent.

    `picture` is as loaded from its file. Raises UnusableInput for floating-point samples, and for integers that are not
    16 bits wide nor fit in them.
    """
    if picture.mode == "F":
        raise UnusableInput("the picture holds floating-point samples of unknown range: send 8 or 16 bits a channel")
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    samples = np.asarray(picture)
    odd_width = tags.get(BITS_TAG, (16,)) not in ((16,), (32,))
    if odd_width or (picture.mode == "I" and (samples.min() < 0 or samples.max() > 65535)):
        raise UnusableInput("the picture holds samples of unknown range: send 8 or 16 bits a channel")
    grey = EIGHT_BITS[samples.astype(np.uint16)]
    if tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO:  # Pillow inverts such files at 8 bits, but not at 16
        grey = 255 - grey
    level = picture.info.get("transparency")
    if not isinstance(level, int):
        return Image.fromarray(grey)
    opaque = np.where(samples == level, 0, 255).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque)))
