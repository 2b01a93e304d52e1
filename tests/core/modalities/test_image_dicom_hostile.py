"""What the image modality does to DICOM files that are built to hurt: refused in good time, within bounds of memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from app.core.errors import TooLarge, TwinserveError, UnusableInput
from tests.core.modalities.scans import (
    body_of,
    dataset,
    deflated,
    element,
    file_of,
    noisy,
    refused,
    scan,
    shown,
    written,
)

SAMPLES = noisy("int16", -1000, 3000)


def bounded(data: bytes, error: type[TwinserveError], words: str, *, memory: int = 10_000_000) -> None:
    """The file is refused quickly, and without memory out of proportion to it."""
    tracemalloc.start()
    try:
        start = time.process_time()
        with pytest.raises(error, match=words):
            shown(data)
        assert time.process_time() - start < 8  # under the tracer, which makes it several times slower
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def huge(**changes: Any) -> bytes:
    return scan(SAMPLES, Rows=20_000, Columns=20_000, **changes)


def test_huge_declared_size_is_too_large_before_a_pixel_is_unpacked() -> None:
    for syntax in (ExplicitVRLittleEndian, RLELossless, DeflatedExplicitVRLittleEndian):
        bounded(huge(syntax=syntax), TooLarge, "20000 x 20000 pixels; at most 50000000 in all")


def test_deflated_file_that_expands_without_end_stops_at_the_byte_limit() -> None:
    body = element(0x00091001, "OB", bytes(10)) + element(0x7FE00010, "OW", bytes(1 << 26))
    data = file_of(deflated(body), DeflatedExplicitVRLittleEndian)
    assert len(data) < 100_000
    bounded(data, TooLarge, "expands beyond 33554432 bytes", memory=150_000_000)


def test_run_length_bomb_makes_no_more_bytes_than_the_picture_has() -> None:
    segment = bytes([0x81, 7]) * 500_000  # 128 bytes from each two
    frame = np.array([2, 64, 64 + len(segment), *[0] * 13], dtype="<u4").tobytes() + segment * 2
    item = b"\xfe\xff\x00\xe0"
    found = dataset(SAMPLES, syntax=RLELossless)
    found.PixelData = item + bytes(4) + item + struct.pack("<I", len(frame)) + frame
    bounded(written(found), UnusableInput, "damaged")


@pytest.mark.parametrize(
    "header",
    [
        [0, 64, 104],
        [1, 64],
        [3, 64, 104, 110],
        [2, 0, 104],
        [2, 64, 10],
        [2, 64, 10**9],
        [2**32 - 1] * 16,
    ],
)
def test_run_length_header_that_lies_is_refused(header: list[int]) -> None:
    found = dataset(SAMPLES, syntax=RLELossless)
    start = found.PixelData.index(struct.pack("<II", 2, 64))
    lie = np.array([*header, *[0] * 16][:16], dtype="<u4").tobytes()
    assert shown(written(found)).shape == (5, 7)
    found.PixelData = found.PixelData[:start] + lie + found.PixelData[start + 64 :]
    assert "damaged" in refused(written(found))


def fragments(*parts: bytes, claimed: int | None = None) -> bytes:
    """Encapsulated pixels of these items and an end; `claimed` is what the last one says of its length."""
    items = [b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part)) + part for part in parts]
    if claimed is not None:
        items[-1] = items[-1][:4] + struct.pack("<I", claimed) + parts[-1]
    return element(0x7FE00010, "OB", b"".join(items), 0xFFFFFFFF) + b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.mark.parametrize(
    "pixels",
    [
        element(0x7FE00010, "OB", b"", 0xFFFFFFFF),
        fragments(),
        fragments(b""),
        fragments(b"", b""),
        fragments(b"", b"\x02\0\0\0"),
        fragments(b"", bytes(64), bytes(64)),
        fragments(b"", bytes(64), claimed=4_000_000_000),
        fragments(*[b""] * 20_000),
        element(0x7FE00010, "OB", bytes(64)),
    ],
)
def test_fragments_that_are_none_are_refused(pixels: bytes) -> None:
    sound = body_of(scan(SAMPLES))
    head = sound[: sound.index(struct.pack("<HH", 0x7FE0, 0x0010))]
    assert refused(file_of(head + pixels, RLELossless))
    assert refused(file_of(head + pixels))


def nested(depth: int, inside: bytes = b"") -> bytes:
    """Sequences of undefined length within each other, none of which ends."""
    opened = element(0x00081140, "SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", 0xFFFFFFFF)
    return opened * depth + inside


HOSTILE = {
    "sequences nested without end": file_of(nested(200_000)),
    "implicit ones": file_of(
        struct.pack("<HHIHHI", 8, 0x1140, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * 200_000, ImplicitVRLittleEndian
    ),
    "many elements": file_of(element(0x00091001, "LO", b"") * 1_000_000),
    "many wanted elements": file_of(element(0x00281050, "DS", b"") * 1_000_000),
    "many elements in a sequence": file_of(nested(1, element(0x00091001, "LO", b"") * 1_000_000)),
    "many sequences": file_of(element(0x00081140, "SQ", b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF) * 500_000),
    "many items": file_of(element(0x00081140, "SQ", b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000, 0xFFFFFFFF)),
    "values that never end, nested": file_of(nested(150, element(0x00091001, "OB", bytes(8_000_000), 0xFFFFFFFF))),
    "unknown ones": file_of(nested(150, element(0x00091001, "UN", bytes(8_000_000), 0xFFFFFFFF))),
    "fragments": file_of(fragments(*[b""] * 1_000_000), RLELossless),
    "lengths beyond the end": file_of(element(0x00091001, "OB", b"", 0xFFFFFFFE) * 200_000),
    "deflated elements": file_of(deflated(element(0x00091001, "LO", b"") * 4_000_000), DeflatedExplicitVRLittleEndian),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_file_built_to_cost_more_than_its_size_is_refused_in_good_time(name: str) -> None:
    start = time.process_time()
    assert refused(HOSTILE[name])
    assert time.process_time() - start < 4
