"""Pictures of few bytes and pixels that cost their decoder far more than either tells; found by attacking it.

Each took seconds to minutes, most of them holding the interpreter's lock, or gigabytes.
"""

from __future__ import annotations

import logging
import struct
import time
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from app.core.errors import UnusableInput
from app.core.modalities.image import header
from tests.core.modalities.pictures import corners, encoded, prepared, tiff

COUNT = 400_000
"""Parts enough to be beyond any bound on them, each of a few bytes."""


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(more: bytes, before: bytes = b"IDAT") -> bytes:
    data = encoded(corners(), "PNG")
    at = data.index(before) - 4
    return data[:at] + more + data[at:]


def gif(more: bytes) -> bytes:
    data = encoded(corners(), "GIF")
    blocks = 13 + 3 * 2 ** ((data[10] & 7) + 1)  # behind the global colours
    return data[:blocks] + more + data[blocks:]


def jpeg(more: bytes) -> bytes:
    data = encoded(corners(), "JPEG")
    return data[:2] + more + data[2:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def rle_bmp(width: int, height: int, body: bytes) -> bytes:
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start = 14 + 40 + len(palette)
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + about + palette + body


def tiff_of_strips(count: int) -> bytes:
    body = bytes(500) + struct.pack("<I", 8) * count + struct.pack("<I", 500) * count
    sizes = {256: (3, 1, 500), 257: (4, 1, count), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    strips = {273: (4, count, 508), 278: (3, 1, 1), 279: (4, count, 508 + 4 * count)}
    return tiff(sizes | strips, body)


BOMBS: dict[str, Callable[[], bytes]] = {
    "png of empty chunks": lambda: png(chunk(b"abCd") * COUNT),
    "png of empty chunks behind its pixels": lambda: png(chunk(b"abCd") * COUNT, b"IEND"),
    "png of empty pixel chunks": lambda: png(chunk(b"IDAT") * COUNT),
    "png of texts": lambda: png(chunk(b"tEXt", b"k\0v") * COUNT),
    "png of colour profiles": lambda: png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 1000),
    "gif of comments": lambda: gif(b"!\xfe\x01a\0" * COUNT),
    "gif of a comment in pieces": lambda: gif(b"!\xfe" + b"\x01a" * COUNT + b"\0"),
    "gif of junk": lambda: gif(b"\x01" * COUNT),
    "gif of empty pixel blocks": lambda: encoded(corners(), "GIF")[:-2] + b"\x01a" * COUNT + b"\0;",
    "jpeg of comments": lambda: jpeg(segment(0xFE) * COUNT),
    "jpeg of application data": lambda: jpeg(segment(0xE5) * COUNT),
    "jpeg of exif data in pieces": lambda: jpeg(segment(0xE1, b"Exif\0\0abcd") * 1000),
    "jpeg of filling": lambda: jpeg(b"\xff" * COUNT),
    "bmp of runs beyond its width": lambda: rle_bmp(255, 7000, b"\xff\x01" * COUNT),
    "bmp of ends of line": lambda: rle_bmp(7, 500_000, b"\0\0" * COUNT),
    "tiff of strips": lambda: tiff_of_strips(99_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_picture_of_countless_parts_is_refused_before_it_costs_seconds(name: str) -> None:
    data = BOMBS[name]()
    began = time.process_time()
    with pytest.raises(UnusableInput, match="far more parts"):
        prepared(data)
    assert time.process_time() - began < 5  # a tenth of a second to half a one, on a machine that does nothing else


def test_large_jpeg_of_many_empty_scans_is_refused_and_a_small_one_is_not() -> None:
    def scanned(side: int) -> bytes:
        picture = Image.new("RGB", (side, side), (10, 200, 30))
        picture.paste((200, 0, 0), (0, 0, side // 2, side))
        data = encoded(picture, "JPEG", progressive=True, quality=10)
        last = data.rindex(b"\xff\xda")
        return data[:last] + data[last:-2] * 150 + b"\xff\xd9"

    assert prepared(scanned(200)).windows
    with pytest.raises(UnusableInput, match="far more parts"):
        prepared(scanned(5000))


@pytest.mark.parametrize("filling", [b"", b".", b".."])  # so that they stand at even places, at odd ones, and at both
@pytest.mark.parametrize(("part", "most"), [(b"\xff\xda", header.MAX_JPEG_SCANS), (b"Exif\0\0", header.MAX_EXIF_PARTS)])
def test_parts_of_a_jpeg_are_counted_wherever_they_stand(part: bytes, most: int, filling: bytes) -> None:
    for end in (b"", b"\xff", b"E"):
        assert not header.is_hostile(b"\xff\xd8" + most * (part + filling) + end)
        assert header.is_hostile(b"\xff\xd8" + filling + (most + 1) * (part + filling) + end)


def test_half_the_name_of_a_part_is_no_part() -> None:
    assert not header.is_hostile(b"\xff\xd8" + 2 * header.MAX_EXIF_PARTS * b"Exe")


def test_largest_gif_of_full_blocks_is_within_the_bound() -> None:
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * (32 * 1024 * 1024 // 256 - 20) + b"\0"
    assert prepared(gif(comment)).windows


def test_big_tiff_which_the_checks_on_tiff_do_not_read_is_no_picture() -> None:
    with pytest.raises(UnusableInput, match="no PNG"):
        prepared(encoded(corners(), "TIFF", big_tiff=True))


def test_callers_file_writes_nothing_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    tags = {256: (3, 1, 16), 257: (3, 1, 16), 258: (3, 65535, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 65535)}
    with caplog.at_level(logging.DEBUG), pytest.raises(UnusableInput):
        prepared(tiff(tags | {273: (4, 1, 8), 278: (3, 1, 16), 279: (4, 1, 256)}, bytes(1 << 18)))
    assert not caplog.records
