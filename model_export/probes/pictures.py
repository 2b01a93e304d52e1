"""Photograph-like pictures computed for the project: soft light, blurred bodies, grain. No data set's items."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

ORIENTATION_TAG = 0x0112
BODIES = 7


def photograph(number: int, size: tuple[int, int] = (180, 130)) -> Image.Image:
    """One picture in colour, mode RGB, `size` is width, height. The same numbers always give the same picture."""
    rng = np.random.default_rng([number, 7])
    width, height = size
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    levels = 128 + 60 * (across[..., None] * rng.uniform(-1, 1, 3) + down[..., None] * rng.uniform(-1, 1, 3))
    for _ in range(BODIES):
        x, y, reach = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.5)
        inside = np.clip((reach - np.hypot(across - x, (down - y) * rng.uniform(0.6, 1.4))) * 12, 0, 1)[..., None]
        levels = levels * (1 - inside) + inside * rng.uniform(20, 235, 3) * (0.75 + 0.25 * (x - across[..., None]))
    levels += rng.normal(0, 6, levels.shape)
    picture = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def probe_photographs() -> list[bytes]:
    """Files in colour and in grey, upright and turned, half of them wider than high."""
    turned = Image.Exif()
    turned[ORIENTATION_TAG] = 6
    return [
        _encoded(photograph(1), "JPEG", quality=90),
        _encoded(photograph(2, (100, 170)), "PNG"),
        _encoded(photograph(3).rotate(90, expand=True), "JPEG", exif=turned, quality=90),
        _encoded(photograph(4).convert("L"), "PNG"),
        _encoded(photograph(5, (90, 140)), "WEBP", lossless=True),
        _encoded(_dark(photograph(6, (64, 64))), "PNG"),
    ]


def _dark(picture: Image.Image) -> Image.Image:
    """As an X-ray is: grey, bright in the middle of a black ground."""
    levels: npt.NDArray[np.float64] = np.asarray(picture.convert("L"), np.float64)
    down, across = (np.linspace(-1, 1, length) for length in levels.shape)
    return Image.fromarray((levels * np.clip(1.2 - np.hypot(down[:, np.newaxis], across), 0, 1)).astype(np.uint8))


def _encoded(picture: Image.Image, format_: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()
