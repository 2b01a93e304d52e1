"""What the image modality does to pictures that it cannot or must not take: one documented error, never another."""

from __future__ import annotations

import random
import struct
import threading
import time
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.core.errors import TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Limits
from tests.core.modalities.pictures import (
    corner_levels,
    corners,
    encoded,
    exif,
    grey_tiff,
    jpeg_header,
    noise,
    pixels,
    png_header,
    prepared,
    resized_header,
    tiff,
)

FIRST = noise(60, 40).convert("L")
FRAMES: dict[str, Any] = {"save_all": True, "append_images": [corners(), corners().rotate(180)]}
SOUND = {
    "png": encoded(noise(60, 40), "PNG"),
    "grey png": encoded(corners(), "PNG"),
    "jpeg": encoded(noise(60, 40), "JPEG"),
    "progressive jpeg": encoded(noise(60, 40), "JPEG", progressive=True),
    "webp": encoded(noise(60, 40), "WEBP"),
    "lossless webp": encoded(noise(60, 40), "WEBP", lossless=True),
    "bmp": encoded(noise(60, 40), "BMP"),
    "gif": encoded(corners(), "GIF"),
    "tiff": encoded(noise(60, 40), "TIFF"),
    "lzw tiff": encoded(noise(60, 40), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encoded(noise(60, 40), "TIFF", compression="jpeg"),
    "16-bit png": encoded(Image.fromarray(np.asarray(corners()).astype(np.uint16) * 257), "PNG"),
    "animated gif": encoded(FIRST, "GIF", **FRAMES),
    "animated png": encoded(FIRST, "PNG", **FRAMES),
    "animated webp": encoded(FIRST, "WEBP", **FRAMES),
    "two-page tiff": encoded(FIRST, "TIFF", **FRAMES),
    "mpo": encoded(noise(60, 40), "MPO", save_all=True, append_images=[noise(60, 40, 2)]),
}


@pytest.mark.parametrize("name", SOUND)
def test_cut_file_is_refused_or_gives_the_whole_first_frame_never_part_of_it(name: str) -> None:
    data, whole = SOUND[name], pixels(SOUND[name])
    lengths = {len(data) * step // 60 for step in range(60)} | set(range(max(0, len(data) - 20), len(data)))
    for length in sorted(lengths):
        try:
            got = pixels(data[:length])
        except UnusableInput:
            continue
        assert length > len(data) // 4, length
        assert np.array_equal(got, whole), length


@pytest.mark.parametrize("name", SOUND)
def test_damaged_file_raises_nothing_but_documented_errors(name: str) -> None:
    rng = random.Random(name)
    for _ in range(60):
        data = bytearray(SOUND[name])
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(min(len(data), rng.choice((64, 400, 10**9))))] = rng.randrange(256)
        try:
            prepared(bytes(data), Limits(max_pixels=10**6))
        except (UnusableInput, TooLarge) as error:
            assert error.detail  # noqa: PT017 - either outcome is fine, an error without a sentence is not


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, I am no picture at all", "no PNG"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "no PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG"),
        (b"\x00" * 4096, "no PNG"),
        (encoded(corners(), "ICO"), "no PNG"),
        (encoded(corners(), "PPM"), "no PNG"),
        (encoded(corners(), "PNG")[:20], "damaged"),
        (encoded(corners(), "JPEG")[:10], "damaged"),
    ],
)
def test_what_is_no_picture_is_named_as_such(data: bytes, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        prepared(data)


BLANK = {
    "one pixel": Image.new("L", (1, 1), 0),
    "white": Image.new("L", (60, 40), 255),
    "black beside white padding": Image.new("L", (60, 40), 0),
    "one colour": Image.new("RGB", (48, 48), (255, 0, 0)),
    "all transparent": Image.merge("LA", (corners(), Image.new("L", (60, 40), 0))),
    "faint": corners().point(lambda level: 200 + level // 20),
}


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", BLANK)
def test_blank_picture_is_refused(name: str, mode: str) -> None:
    with pytest.raises(UnusableInput, match="blank"):
        prepared(encoded(BLANK[name], "PNG"), mode=mode)


HUGE = {
    "png": png_header(20_000, 20_000),
    "png cut after its header": png_header(20_000, 20_000)[:29],
    "jpeg": jpeg_header(20_000, 20_000),
    "bmp": resized_header(SOUND["bmp"], 18, "<ii", 20_000, 20_000),
    "bmp from the top": resized_header(SOUND["bmp"], 18, "<ii", 20_000, -20_000),
    "gif": resized_header(SOUND["gif"], 6, "<HH", 20_000, 20_000),
    "tiff": grey_tiff(20_000, 20_000, b"\0"),
    "webp canvas": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (19_999).to_bytes(3, "little") * 2,
    "lossless webp": b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16_000 | 16_000 << 14) + b"\0" * 5,
    "lossy webp": b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", 16_000, 16_000),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_declared_size_is_too_large_before_anything_is_decoded(name: str) -> None:
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(TooLarge, match="pixels; at most 50000000 in all"):
            prepared(HUGE[name])
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 1


def test_pixel_and_byte_limits_hold_at_their_edge() -> None:
    data = encoded(corners(60, 40), "PNG")
    assert prepared(data, Limits(max_pixels=2400, max_body_bytes=len(data))).windows
    with pytest.raises(TooLarge, match="60 x 40"):
        prepared(data, Limits(max_pixels=2399))
    with pytest.raises(TooLarge, match="bytes"):
        prepared(data, Limits(max_body_bytes=len(data) - 1))


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)),
        Image.fromarray(np.linspace(0, 2**30, 2400).astype(np.int32).reshape(40, 60)),
        Image.fromarray(np.linspace(-9, 900, 2400).astype(np.int32).reshape(40, 60)),
    ],
    ids=["float", "32 bits", "negative"],
)
def test_samples_of_unknown_range_are_refused_not_guessed(picture: Image.Image) -> None:
    with pytest.raises(UnusableInput, match="unknown range"):
        prepared(encoded(picture, "TIFF"))


def test_twelve_bit_tiff_is_refused_rather_than_shown_sixteen_times_too_dark() -> None:
    with pytest.raises(UnusableInput, match="unknown range"):
        prepared(grey_tiff(60, 40, random.Random(1).randbytes(3600), bits=12))


def test_tiff_of_millions_of_strips_is_refused_before_its_directory_is_read() -> None:
    strips = 2_000_000
    body = struct.pack("<I", 8) * strips
    tags = {256: (4, 1, 1), 257: (4, 1, strips), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1)}
    data = tiff(tags | {273: (4, strips, 8), 278: (3, 1, 1), 279: (4, strips, 8)}, body)
    start = time.perf_counter()
    with pytest.raises(UnusableInput, match="parts"):
        prepared(data)
    assert time.perf_counter() - start < 0.5


def test_jpeg_of_countless_scans_is_refused() -> None:
    data = encoded(noise(60, 40), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UnusableInput, match="parts"):
        prepared(data[:last] + data[last:-2] * 300 + b"\xff\xd9")


@pytest.mark.parametrize(
    "metadata", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(6).tobytes()[:20], b"\0" * 60_000]
)
def test_damaged_metadata_costs_nothing_but_the_metadata(metadata: bytes) -> None:
    picture = corners()
    for form in ("JPEG", "PNG", "WEBP"):
        got = pixels(encoded(picture, form, exif=metadata), fit="stretch", width=60, height=40)
        assert np.abs(np.array(corner_levels(got)) - [40, 100, 160, 220]).max() <= 4


def test_one_caller_never_changes_how_the_process_warns() -> None:
    """warnings.catch_warnings restores the filters of the whole process: between threads it would leave some behind."""
    before = list(warnings.filters)
    data = [*SOUND.values(), encoded(corners(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), b"junk"]

    def work(seed: int) -> None:
        for one in random.Random(seed).sample(data, len(data)):
            try:
                prepared(one)
            except TwinserveError:
                continue

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


def test_png_with_any_changed_byte_is_refused_or_shows_the_same_picture() -> None:
    data = encoded(noise(40, 30), "PNG")
    whole = pixels(data)
    refused = 0
    for place in range(8, len(data), 5):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        try:
            assert np.array_equal(pixels(bytes(damaged)), whole), place
        except (UnusableInput, TooLarge):
            refused += 1
    assert refused > len(range(8, len(data), 5)) * 0.9
