"""What WAV and Ogg files say of their own length, read without libsndfile, which takes what is left of a cut file for
the whole. No samples here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from app.core.errors import UnusableInput

UNKNOWN_SIZE = 0xFFFFFFFF
MAX_CHUNKS = 1000
LAST_PAGE_FLAG = 0x04
MAX_PAGES = 100_000
"""Half an hour of the shortest pages that encoders write, one a packet of 20 ms."""
MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Declared:
    """What a WAV header claims, and how many bytes of sound it would take and the file has."""

    seconds: float
    claimed_bytes: int
    held_bytes: int


def read_wav(data: bytes) -> Declared:
    """The length that a WAV file's chunks declare (RIFF, Microsoft and IBM, 1991).

    Raises UnusableInput where a chunk is missing or damaged, and for a length left open by a program writing to a pipe.
    """
    at, bytes_per_second = 12, 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            break
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        at += 8
        if name == b"fmt " and at + 16 <= len(data):
            rate, frame_bytes = struct.unpack_from("<I4xH", data, at + 4)
            bytes_per_second = rate * frame_bytes
        if name == b"data":
            if size == UNKNOWN_SIZE:
                raise UnusableInput("the WAV file declares no length: write it to a file rather than to a pipe")
            if bytes_per_second:
                return Declared(size / bytes_per_second, size, len(data) - at)
        at += size + size % 2  # chunks begin at even places
    raise damaged()


def check_ogg(data: bytes) -> None:
    """Refuse an Ogg file with a page missing, cut or damaged, or that holds several streams (RFC 3533, section 6).

    libsndfile passes over damaged pages, and of several streams decodes only the first; in both cases nobody is told.
    """
    at, pages, streams, flags = 0, 0, 0, 0
    while at < len(data):
        head = data[at : at + 27]
        if len(head) < 27 or not head.startswith(b"OggS") or pages == MAX_PAGES:
            raise damaged()
        segments = data[at + 27 : at + 27 + head[26]]
        end = at + 27 + head[26] + sum(segments)
        (checksum,) = struct.unpack_from("<I", head, 22)
        if end > len(data) or _ogg_checksum(head[:22] + bytes(4) + data[at + 26 : end]) != checksum:
            raise damaged()
        at, pages, flags = end, pages + 1, head[5]
        streams += flags >> 1 & 1
    if streams > 1:
        raise UnusableInput("the Ogg file holds several streams: send one sound")
    if not flags & LAST_PAGE_FLAG:
        raise damaged()


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 of polynomial 04C11DB7, most significant bit first, from 0: zlib's, but for the order of the bits."""
    mirrored = zlib.crc32(page.translate(MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(MIRROR), "big")


def damaged() -> UnusableInput:
    """The error for a file of a known format that is not whole."""
    return UnusableInput("the sound file is damaged or cut short: send the whole file")
