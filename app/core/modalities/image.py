"""Pictures: decode, orient, flatten, convert and resize to the uint8 array that the graph takes.

PNG, JPEG, WebP, BMP, GIF and TIFF through Pillow; of an animated or multi-page file the first frame, with a notice.
The manifest names every step (Params). Pixel scaling belongs to the graph, not here.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import BundleRefused, InvalidRequest, TooLarge, UnusableInput
from app.core.modalities.base import Array, Item, Limits, Prepared, Window, stack

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
INPUT = "pixels"


class Params(BaseModel):
    """How a picture becomes pixels. Every field is part of the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["L", "RGB"] = Field(description="one luma channel (ITU-R 601-2) or three colour channels")
    width: int = Field(ge=1, le=4096)
    height: int = Field(ge=1, le=4096)
    fit: Literal["stretch", "pad", "crop"] = Field(
        description="stretch ignores the aspect ratio, pad keeps it and fills, crop keeps it and cuts the centre"
    )
    resample: Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
    antialias: bool = Field(description="whether the filter widens with the reduction, as Pillow's resize does")
    background: int = Field(ge=0, le=255, description="grey level behind transparency and beside padding")
    orientation: Literal["exif", "ignore"]
    sixteen_bit: Literal["divide_257"] = Field(description="65535 becomes 255, rounded to nearest")
    min_contrast: int = Field(ge=1, le=255, description="a prepared picture with a smaller range is refused as blank")


def create(params: Mapping[str, Any], assets: Mapping[str, bytes]) -> ImageModality:
    """Make the image modality for a bundle. Raises BundleRefused for params that it does not accept."""
    del assets  # pictures need none
    try:
        checked = Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleRefused(f"modality.params.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not checked.antialias and checked.resample not in ("bilinear", "bicubic"):
        raise BundleRefused("modality.params.resample: without antialias only bilinear and bicubic are defined")
    return ImageModality(checked)


class ImageModality:
    """Modality for pictures; see base.Modality. Windows are {"pixels": uint8 (height, width, channels)}."""

    form = "base64"
    media_types = ("image/",)

    def __init__(self, params: Params) -> None:
        self.params = params

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Decode and prepare one picture to uint8 (height, width, channels).

        Raises InvalidRequest for an unknown member, TooLarge beyond the byte or pixel limit (read from the header,
        before decoding), UnusableInput for what is no whole picture or is blank.
        """
        unknown = set(item) - {"bytes"}
        if unknown:
            raise InvalidRequest(f"a picture takes no member {sorted(unknown)[0]!r}; remove it")
        picture, notices = _decode(item["bytes"], limits)
        if self.params.orientation == "exif":
            picture = ImageOps.exif_transpose(picture)
        pixels = np.asarray(self._resize(_flatten(picture, self.params)))
        if pixels.ndim == 2:
            pixels = pixels[:, :, np.newaxis]
        if int(pixels.max()) - int(pixels.min()) < self.params.min_contrast:
            raise UnusableInput("the picture is blank: send one that shows something")
        return Prepared(({INPUT: pixels},), notices)

    def _resize(self, picture: Image.Image) -> Image.Image:
        params, size = self.params, (self.params.width, self.params.height)
        resample = Image.Resampling[params.resample.upper()]
        if params.fit == "crop":
            picture = _crop_to_aspect(picture, size)
        inner = _contain(picture.size, size) if params.fit == "pad" else size
        if params.antialias:
            picture = picture.resize(inner, resample)
        else:
            box = (0, 0, *picture.size)
            picture = picture.transform(inner, Image.Transform.EXTENT, box, resample)
        if inner == size:
            return picture
        canvas = Image.new(picture.mode, size, _grey(picture.mode, params.background))
        canvas.paste(picture, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
        return canvas

    def bucket(self, window: Window) -> Hashable:
        """All pictures of a bundle have one shape, so they share one bucket."""
        return ()

    def collate(self, windows: Sequence[Window]) -> dict[str, Array]:
        """Stack to {"pixels": uint8 (batch, height, width, channels)}."""
        return stack(windows)

    def examples(self) -> Sequence[Window]:
        """A checkerboard of the declared size."""
        rows, columns = np.indices((self.params.height, self.params.width))
        board = (((rows // 4 + columns // 4) % 2) * 255).astype(np.uint8)
        channels = 1 if self.params.mode == "L" else 3
        return ({INPUT: np.repeat(board[:, :, np.newaxis], channels, axis=2)},)


def _decode(data: bytes, limits: Limits) -> tuple[Image.Image, tuple[str, ...]]:
    """Read the header, check it against the limits, then decode the first frame."""
    if not data:
        raise UnusableInput("the picture is empty: send the bytes of a PNG, JPEG, WebP, BMP, GIF or TIFF file")
    if len(data) > limits.max_body_bytes:
        raise TooLarge(f"the picture has {len(data)} bytes; at most {limits.max_body_bytes} are taken")
    try:
        with warnings.catch_warnings():
            # Our own pixel limit follows at once; Pillow's warning about size would only repeat it.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLarge(f"the picture has too many pixels; at most {limits.max_pixels} are taken") from error
    except UnidentifiedImageError as error:
        raise UnusableInput("this is no PNG, JPEG, WebP, BMP, GIF or TIFF picture") from error
    except Exception as error:
        raise _undecodable(error) from error
    if picture.width * picture.height > limits.max_pixels:
        size = f"{picture.width} x {picture.height}"
        raise TooLarge(f"the picture has {size} pixels; at most {limits.max_pixels} in all are taken")
    notices = ("first_frame",) if getattr(picture, "n_frames", 1) > 1 else ()
    try:
        picture.load()
    except Exception as error:
        raise _undecodable(error) from error
    return picture, notices


def _undecodable(error: Exception) -> UnusableInput:
    """Pillow's decoders raise almost any type on damaged files (OSError, SyntaxError, struct.error, ...)."""
    if isinstance(error, MemoryError):
        raise error
    return UnusableInput("the picture is damaged or cut short: send the whole file")


def _flatten(picture: Image.Image, params: Params) -> Image.Image:
    """Bring any Pillow mode to the declared one: 16 bits to 8, palette to colour, transparency onto the background."""
    if picture.mode == "F":
        raise UnusableInput("the picture holds floating-point samples of unknown range: send 8 or 16 bits a channel")
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        wide = np.asarray(picture).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise UnusableInput("the picture holds 32-bit samples of unknown range: send 8 or 16 bits a channel")
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert(params.mode)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        canvas = Image.new("RGBA", picture.size, (params.background,) * 3 + (255,))
        picture = Image.alpha_composite(canvas, picture).convert("RGB")
    if picture.mode not in ("L", "RGB", "1"):
        picture = picture.convert("RGB")  # via RGB, so that CMYK, LAB and YCbCr give luma by the same formula
    return picture.convert(params.mode)


def _contain(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The largest whole-pixel size of the picture's aspect ratio inside `size`; never thinner than one pixel."""
    scale = min(size[0] / picture[0], size[1] / picture[1])
    return min(size[0], max(1, round(picture[0] * scale))), min(size[1], max(1, round(picture[1] * scale)))


def _crop_to_aspect(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The largest centred box of the target's aspect ratio, in whole pixels."""
    scale = min(picture.width / size[0], picture.height / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _grey(mode: str, level: int) -> int | tuple[int, int, int]:
    return level if mode == "L" else (level, level, level)
