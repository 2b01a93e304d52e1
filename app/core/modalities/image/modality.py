"""The image modality: its params, and the steps from a decoded picture to the uint8 array that the graph takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import BundleRefused, InvalidRequest, UnusableInput
from app.core.modalities.base import Array, Item, Limits, Prepared, Window, stack
from app.core.modalities.image.contrast import whiten_paper
from app.core.modalities.image.decoding import Decoded, decode
from app.core.modalities.image.windowing import Dicom

INPUT = "pixels"
KEPT = 2
STRIP_PIXELS = 1 << 20
"""Pillow keeps the interpreter lock while it composites, a second or more for the largest picture that is taken; every
other request of the process would wait for it.
"""


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
    sixteen_bit: Literal["divide_257"] = Field(
        description="65535 becomes 255, to the nearest; of 16-bit colour the high byte is kept, at most one level less"
    )
    contrast: Literal["none", "paper"] = Field(
        description="paper makes the paper white and the ink black before resizing, for mode L: see contrast.py"
    )
    min_contrast: int = Field(
        ge=1,
        le=255,
        description="a picture no channel of which spans this many levels once resized is refused as blank",
    )
    # With defaults, unlike the others: the fingerprint covers params as written, and bundles were written before these.
    jpeg: Literal["whole", "scaled"] = Field(
        default="whole",
        description="scaled decodes a JPEG at a half, a quarter or an eighth of its size where that leaves twice the "
        "pixels that resizing needs, along both sides",
    )
    dicom: Dicom | None = Field(
        default=None, description="how DICOM files are read, which needs the extra of that name; null refuses them"
    )


def create(params: Mapping[str, Any], assets: Mapping[str, bytes]) -> ImageModality:
    """Make the image modality for a bundle. Raises BundleRefused for params that it does not accept, and where they
    declare DICOM but its package is not installed.
    """
    del assets  # pictures need none
    try:
        checked = Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleRefused(f"modality.params.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not checked.antialias and checked.resample not in ("bilinear", "bicubic"):
        raise BundleRefused("modality.params.resample: without antialias only bilinear and bicubic are defined")
    if not checked.antialias and checked.jpeg == "scaled":
        raise BundleRefused("modality.params.jpeg: without antialias, scaled would pick other pixels")
    if checked.contrast == "paper" and checked.mode != "L":
        raise BundleRefused("modality.params.contrast: paper is defined for mode L only")
    return ImageModality(checked)


class ImageModality:
    """Modality for pictures; see base.Modality. Windows are {"pixels": uint8 (height, width, channels)}."""

    form = "base64"
    media_types: tuple[str, ...] = ("image/",)

    def __init__(self, params: Params) -> None:
        self.params = params
        self._read_dicom = None if params.dicom is None else _dicom_reader(params.dicom)
        if params.dicom is not None:
            self.media_types = (*self.media_types, "application/dicom")

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Decode and prepare one picture to uint8 (height, width, channels).

        Raises InvalidRequest for a member it does not know, TooLarge beyond the byte or pixel limit (read from the
        header, before decoding), UnusableInput for what is no whole picture or is blank.
        """
        if unknown := sorted(set(item) - {"bytes"}):
            raise InvalidRequest(f"a picture takes no member {unknown[0]!r}; remove it")
        if "bytes" not in item:
            raise InvalidRequest("this model takes a picture: send its bytes")
        picture, notices = decode(
            item["bytes"],
            limits,
            upright=self.params.orientation == "exif",
            least=self._least if self.params.jpeg == "scaled" else None,
            read_dicom=self._read_dicom,
        )
        picture = _flatten(picture, self.params)
        if self.params.contrast == "paper":
            picture = whiten_paper(picture, self.params.min_contrast)
        picture = self._resize(picture)
        # Before padding, whose edge would lend contrast to a blank picture; by channel, since one colour is blank too.
        if _contrast(picture) < self.params.min_contrast:
            raise UnusableInput("the picture is blank: send one that shows something")
        pixels = np.asarray(self._pad(picture))
        return Prepared(({INPUT: pixels.reshape(*pixels.shape[:2], -1)},), notices)

    def _least(self, size: tuple[int, int]) -> tuple[int, int]:
        """Of a picture of this width and height, those that leave the filter KEPT pixels a side for each it makes."""
        target = (self.params.width, self.params.height)
        match self.params.fit:
            case "stretch":
                made = target
            case "pad":
                made = _contain(size, target)
            case "crop":
                left, top, right, bottom = _crop_box(size, target)
                made = (-(-size[0] * target[0] // (right - left)), -(-size[1] * target[1] // (bottom - top)))
        return KEPT * made[0], KEPT * made[1]

    def _resize(self, picture: Image.Image) -> Image.Image:
        params, size = self.params, (self.params.width, self.params.height)
        resample = Image.Resampling[params.resample.upper()]
        if params.fit == "crop":
            picture = picture.crop(_crop_box(picture.size, size))
        inner = _contain(picture.size, size) if params.fit == "pad" else size
        if params.antialias:
            return picture.resize(inner, resample)
        return picture.transform(inner, Image.Transform.EXTENT, (0, 0, *picture.size), resample)

    def _pad(self, picture: Image.Image) -> Image.Image:
        size = (self.params.width, self.params.height)
        if picture.size == size:
            return picture
        canvas = Image.new(picture.mode, size, (self.params.background,) * len(picture.getbands()))
        canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        return canvas

    def narrow(self, limits: Limits) -> Limits:
        """Those given: any size of picture is brought to the model's."""
        return limits

    def summarize(self, window: Window) -> npt.NDArray[np.float32]:
        """Square roots of the shares of dark, middle and light values, and the mean steps across and down: (5,).

        Three bins only, so that small differences of shade do not count.
        """
        pixels = window[INPUT]
        dark, light = np.count_nonzero(pixels < 85) / pixels.size, np.count_nonzero(pixels >= 170) / pixels.size
        across, down = _mean_step(pixels[:, 1:], pixels[:, :-1]), _mean_step(pixels[1:], pixels[:-1])
        middle = max(1.0 - dark - light, 0.0)
        return np.array([math.sqrt(dark), math.sqrt(middle), math.sqrt(light), across, down], dtype=np.float32)

    def bucket(self, window: Window) -> Hashable:
        """All pictures of a bundle have one shape, so they share one bucket."""
        del window
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


def _contrast(picture: Image.Image) -> int:
    """From the darkest to the lightest value of a channel, of the channel where they are furthest apart."""
    extrema = picture.getextrema()
    channels = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return int(max(high - low for low, high in channels))


def _mean_step(ones: Array, others: Array) -> float:
    """Mean absolute difference of uint8 values, from 0 to 1. Exact: whole numbers, which never need a wider type."""
    steps = np.maximum(ones, others)
    steps -= np.minimum(ones, others)
    return int(steps.sum(dtype=np.uint32)) / (255 * max(steps.size, 1))


def _dicom_reader(params: Dicom) -> Callable[[bytes, Limits], Decoded]:
    """What reads DICOM files as declared. Its package is imported for bundles that need it, and for no others."""
    try:
        from app.core.modalities.image import dicom  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        detail = f"modality.params.dicom needs the package {package!r}, which is not installed"
        raise BundleRefused(detail) from error
    return partial(dicom.read, params=params)


def _flatten(picture: Image.Image, params: Params) -> Image.Image:
    """Bring any mode of at most 8 bits a channel to the declared one, transparency onto the background."""
    if picture.has_transparency_data:
        picture = _composite(picture.convert("RGBA"), params.background).convert("RGB")
    if picture.mode not in ("L", "RGB", "1"):
        picture = picture.convert("RGB")  # via RGB, so that CMYK, LAB and YCbCr give luma by the same formula
    return picture.convert(params.mode)


def _composite(picture: Image.Image, grey: int) -> Image.Image:
    """Lay an RGBA picture over an opaque grey, strip by strip."""
    canvas = Image.new("RGBA", picture.size, (grey, grey, grey, 255))
    rows = max(1, STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        canvas.alpha_composite(picture, (0, top), (0, top, picture.width, min(top + rows, picture.height)))
    return canvas


def _contain(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The largest whole-pixel size of the picture's aspect ratio inside `size`; never thinner than one pixel."""
    scale = min(size[0] / picture[0], size[1] / picture[1])
    return min(size[0], max(1, round(picture[0] * scale))), min(size[1], max(1, round(picture[1] * scale)))


def _crop_box(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred box of the target's aspect ratio, in whole pixels: left, top, right, bottom."""
    scale = min(picture[0] / size[0], picture[1] / size[1])
    width, height = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (picture[0] - width) // 2, (picture[1] - height) // 2
    return left, top, left + width, top + height
