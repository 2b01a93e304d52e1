"""Pictures made for the tests of the image modality, and the shortest way to prepare one."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.core.modalities import create
from app.core.modalities.base import Limits, Prepared

PARAMS: dict[str, Any] = {
    "mode": "L",
    "width": 48,
    "height": 48,
    "fit": "pad",
    "resample": "bilinear",
    "antialias": True,
    "background": 255,
    "orientation": "exif",
    "sixteen_bit": "divide_257",
    "contrast": "none",
    "min_contrast": 16,
}


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def prepared(data: bytes, limits: Limits | None = None, **params: Any) -> Prepared:
    return create("image", PARAMS | params, {}).prepare({"bytes": data}, limits or Limits())


def pixels(data: bytes, **params: Any) -> npt.NDArray[np.uint8]:
    """The prepared picture: (height, width) for mode L, else (height, width, 3)."""
    (window,) = prepared(data, **params).windows
    array = window["pixels"]
    assert array.dtype == np.uint8
    return array[:, :, 0] if array.shape[2] == 1 else array


def corners(width: int = 60, height: int = 40) -> Image.Image:
    """Four quarters of different grey: 40 and 100 above, 160 and 220 below. No turn or mirror leaves it as it is."""
    picture = Image.new("L", (width, height))
    for level, box in ((40, (0, 0)), (100, (width // 2, 0)), (160, (0, height // 2)), (220, (width // 2, height // 2))):
        picture.paste(level, (*box, box[0] + width // 2, box[1] + height // 2))
    return picture


def corner_levels(array: npt.NDArray[np.uint8]) -> list[int]:
    """The levels in the middle of the four quarters, row by row."""
    height, width = array.shape[:2]
    return [int(array[y, x]) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def resized_header(data: bytes, offset: int, form: str, width: int, height: int) -> bytes:
    """A file whose header is made to declare another size, packed as `form` at `offset`."""
    size = struct.pack(form, width, height)
    return data[:offset] + size + data[offset + len(size) :]


def jpeg_header(width: int, height: int) -> bytes:
    data = encoded(corners(), "JPEG")
    return resized_header(data, data.index(b"\xff\xc0") + 5, ">HH", height, width)


def tiff(tags: dict[int, tuple[int, int, int]], body: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one directory, its pixels from byte 8 on; `tags` are number -> (type, count, value or offset)."""
    entries = b""
    for number, (kind, count, value) in sorted(tags.items()):
        short = kind == 3 and count == 1
        entries += struct.pack(
            order + ("HHIHH" if short else "HHII"), number, kind, count, value, *([0] if short else [])
        )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    return magic + struct.pack(order + "I", 8 + len(body)) + body + directory


def grey_tiff(width: int, height: int, body: bytes, *, bits: int = 8, photometric: int = 1, order: str = "<") -> bytes:
    return tiff(
        {
            256: (4, 1, width),
            257: (4, 1, height),
            258: (3, 1, bits),
            259: (3, 1, 1),
            262: (3, 1, photometric),
            273: (4, 1, 8),
            277: (3, 1, 1),
            278: (4, 1, height),
            279: (4, 1, len(body)),
        },
        body,
        order,
    )
