"""What a picture's first bytes declare, read without Pillow: formats whose decoder reserves memory as it opens a file,
and TIFF directories. No pixels here.
"""

from __future__ import annotations

import struct

import numpy as np

MAX_TIFF_VALUES = 100_000
"""Values in one TIFF directory entry. Real files have one strip or tile per many rows; a directory of millions of
tiny strips would cost a hundred times its own size in memory before a pixel is seen."""
MAX_JPEG_SCANS = 200
"""Scans in one JPEG. Encoders write about ten; each one can make the decoder walk the whole picture again."""
MAX_SCANNED_PIXELS = 2_000_000_000
"""Scans times pixels of one JPEG: 40 of the largest picture that is taken, of which 190 empty ones cost six seconds."""
MAX_PROFILES = 20
"""Colour profiles in one PNG, where one is allowed: each is inflated to a megabyte, and nothing looks at it."""
MAX_EXIF_PARTS = 100
"""Pieces of EXIF data in one JPEG, where one is usual: Pillow copies all those before for each."""

SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"RIFF")
"""How files of the accepted formats begin. A damaged file that begins so is damaged, not something else."""


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as the header of a PNG, GIF, BMP or WebP states them; None where it is cut short or another
    format (Pillow reads the sizes of JPEG and TIFF without reserving the picture).
    """
    try:
        if data.startswith(b"\x89PNG") and data[12:16] == b"IHDR":
            return _pair(">II", data, 16)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _pair("<HH", data, 6)
        if data.startswith(b"BM"):
            old = struct.unpack_from("<I", data, 14)[0] == 12
            return _pair("<HH" if old else "<ii", data, 18)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        return None
    return None


def is_dicom(data: bytes) -> bool:
    """Whether this is a DICOM file: 128 bytes of anything, then DICM. Some begin as a TIFF, and are read as that."""
    return data[128:132] == b"DICM" and not data.startswith(SIGNATURES)


def is_hostile(data: bytes) -> bool:
    """Whether a PNG, JPEG or TIFF is built to cost far more than its size and its number of pixels tell.

    Names are counted wherever they stand, so that no way of taking the file apart finds more of them.
    """
    if data.startswith(b"\x89PNG"):
        return data.count(b"iCCP") > MAX_PROFILES
    if data.startswith(b"\xff\xd8"):
        # The first two letters seldom stand there: to look for them first takes an eighth of the time.
        exif = _count_pair(data, b"Ex") > MAX_EXIF_PARTS and data.count(b"Exif\0\0") > MAX_EXIF_PARTS
        return exif or _scans(data) > MAX_JPEG_SCANS
    if data.startswith((b"II*\0", b"MM\0*")):
        return _most_tiff_values(data) > MAX_TIFF_VALUES
    return False


def has_too_many_scans(data: bytes, size: tuple[int, int]) -> bool:
    """Whether this is a JPEG of this width and height that is gone over far more often than progressive ones are."""
    pixels = size[0] * size[1]
    if not data.startswith(b"\xff\xd8") or MAX_JPEG_SCANS * pixels <= MAX_SCANNED_PIXELS:  # is_hostile has looked
        return False
    return _scans(data) * pixels > MAX_SCANNED_PIXELS


def _scans(data: bytes) -> int:
    """Scans of a JPEG, those of its thumbnails counted: entropy-coded bytes never hold this pair, FF is stuffed."""
    return _count_pair(data, b"\xff\xda")


def _count_pair(data: bytes, pair: bytes) -> int:
    """How often two different bytes stand side by side, at even places and at odd ones.

    A tenth of the time that bytes.count takes, with which a JPEG was counted over in a tenth of its preparation.
    """
    wanted = np.frombuffer(pair, np.uint16)
    pairs = (np.frombuffer(data, np.uint16, (len(data) - start) // 2, start) for start in (0, 1))
    return sum(int(np.count_nonzero(some == wanted)) for some in pairs)


def _pair(form: str, data: bytes, offset: int) -> tuple[int, int]:
    width, height = struct.unpack_from(form, data, offset)
    return abs(width), abs(height)  # a BMP stored from the top has a negative height


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: canvas size less one in 24 bits (VP8X), size less one in 14 bits (VP8L), size in 14 bits (VP8)."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _most_tiff_values(data: bytes) -> int:
    """The largest count of numbers, not bytes or text, in an entry of the first directory; 0 if it is cut short."""
    order = "<" if data.startswith(b"II") else ">"
    most = 0
    try:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, offset)
        for entry in range(entries):
            _, kind, count = struct.unpack_from(order + "HHI", data, offset + 2 + 12 * entry)
            if kind not in (1, 2, 6, 7):
                most = max(most, count)
    except struct.error:
        return most
    return most
