"""Pictures turned, blurred, compressed and made noisy. They are decoded, changed, and encoded again, without loss."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from app.core.modalities.base import Item
from model_export.robustness import Change

WHITE = (255, 255, 255, 255)


def _rotated(item: Item, degrees: float, generator: np.random.Generator) -> Item:
    """Turned either way about its middle, whole; what was not there takes the colour of most of the border."""
    picture = _opened(item)
    sign = 1 if generator.random() < 0.5 else -1
    turned = picture.rotate(sign * degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=_border(picture))
    return _encoded(turned, "PNG")


def _blurred(item: Item, share: float, _: np.random.Generator) -> Item:
    """Gaussian blur; its standard deviation is a share of the shorter side."""
    picture = _opened(item)
    return _encoded(picture.filter(ImageFilter.GaussianBlur(share / 100 * min(picture.size))), "PNG")


def _compressed(item: Item, quality: float, _: np.random.Generator) -> Item:
    return _encoded(_opened(item), "JPEG", quality=int(quality))


def _noisy(item: Item, deviation: float, generator: np.random.Generator) -> Item:
    """Normal noise on every pixel and channel; its standard deviation is a share of full scale."""
    pixels = np.asarray(_opened(item), np.float64)
    noise = generator.normal(0, 255 * deviation / 100, pixels.shape)
    return _encoded(Image.fromarray(np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)), "PNG")


def _opened(item: Item) -> Image.Image:
    """Upright, 8 bits, grey or RGB; transparent parts become white."""
    picture: Image.Image = ImageOps.exif_transpose(Image.open(BytesIO(item["bytes"])))
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture, np.float64) / 257).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        sheet = Image.new("RGBA", picture.size, WHITE)
        return Image.alpha_composite(sheet, picture.convert("RGBA")).convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _border(picture: Image.Image) -> float | tuple[int, ...]:
    """The median colour of the border."""
    pixels = np.asarray(picture)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(edge, axis=0)
    return int(colour) if colour.ndim == 0 else tuple(int(one) for one in colour)


def _encoded(picture: Image.Image, form: str, **options: int) -> Item:
    file = BytesIO()
    picture.save(file, form, **options)
    return {"bytes": file.getvalue()}


CHANGES = (
    Change("rotation", "degrees", (5, 10, 20, 45), _rotated),
    Change("blur", "% of the shorter side", (1, 2, 4, 8), _blurred),
    Change("JPEG", "quality", (50, 20, 10, 5), _compressed),
    Change("noise", "% of full scale", (5, 10, 20, 40), _noisy),
)
