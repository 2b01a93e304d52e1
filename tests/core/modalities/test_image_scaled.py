"""JPEGs decoded from fewer of their cosine terms: which of its sizes a file is decoded at, and what that changes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.core.errors import BundleRefused, UnusableInput
from app.core.modalities import create
from app.core.modalities.image import modality
from tests.core.modalities.pictures import PARAMS, corner_levels, corners, encoded, exif, noise, pixels, prepared

SCALED: dict[str, Any] = {"jpeg": "scaled", "resample": "box"}


def decoded_at(data: bytes, monkeypatch: pytest.MonkeyPatch, **params: Any) -> tuple[int, int]:
    """The size of the picture that reaches the resizing."""
    seen: list[tuple[int, int]] = []
    flatten = modality._flatten

    def watch(picture: Image.Image, given: modality.Params) -> Image.Image:
        seen.append(picture.size)
        return flatten(picture, given)

    monkeypatch.setattr(modality, "_flatten", watch)
    prepared(data, **SCALED | params)
    return seen[0]


@pytest.mark.parametrize(
    ("fit", "size", "at"),
    [
        ("stretch", (800, 600), (200, 150)),  # an eighth would leave 75 of the 96 rows that are needed
        ("stretch", (768, 800), (96, 100)),
        ("stretch", (767, 800), (192, 200)),
        ("pad", (1600, 600), (200, 75)),  # resized to 48 x 18, so that 96 x 36 do
        ("pad", (190, 700), (48, 175)),  # to 13 x 48
        ("crop", (1600, 600), (400, 150)),  # 48 rows of the whole height are made
        ("pad", (95, 95), (95, 95)),
    ],
)
def test_the_smallest_size_is_decoded_that_leaves_twice_the_pixels(
    fit: str, size: tuple[int, int], at: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert decoded_at(encoded(corners(*size), "JPEG"), monkeypatch, fit=fit) == at


def test_a_turned_picture_is_sized_as_it_stands_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(corners(1600, 600), "JPEG", exif=exif(6))
    # Upright it is 600 x 1600, of which 48 x 12 are made: a quarter leaves 96 x 24, an eighth of the 600 would not.
    assert decoded_at(data, monkeypatch, fit="stretch", width=48, height=12) == (150, 400)
    assert corner_levels(pixels(data, **SCALED, fit="stretch")) == pytest.approx([160, 40, 220, 100], abs=3)


def test_the_pixels_are_those_of_the_smaller_decoding_and_near_those_of_the_whole() -> None:
    smooth = Image.fromarray(np.asarray(noise(24, 16).convert("L"))).resize((960, 640), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=90)
    picture = Image.open(BytesIO(data))
    picture.draft(None, (96, 96))
    assert picture.size == (240, 160)
    expected = np.asarray(picture.resize((48, 48), Image.Resampling.BOX))
    assert np.array_equal(pixels(data, **SCALED, fit="stretch"), expected)
    whole = pixels(data, **SCALED | {"jpeg": "whole"}, fit="stretch").astype(int)
    assert 0 < np.abs(whole - expected).mean() < 2


def test_other_formats_and_small_files_stay_bit_for_bit() -> None:
    large, small = noise(700, 500), encoded(noise(90, 70), "JPEG")
    for data in (encoded(large, "PNG"), encoded(large, "WEBP", quality=80), encoded(large, "TIFF"), small):
        assert np.array_equal(pixels(data, **SCALED), pixels(data, **SCALED | {"jpeg": "whole"}))


def test_whole_is_what_a_bundle_without_the_field_means() -> None:
    data = encoded(noise(700, 500), "JPEG")
    assert np.array_equal(pixels(data), pixels(data, jpeg="whole"))
    assert not np.array_equal(pixels(data), pixels(data, jpeg="scaled"))


def test_a_file_cut_short_is_refused_however_little_of_it_is_needed() -> None:
    data = encoded(noise(900, 700), "JPEG")
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(UnusableInput, match="damaged or cut short"):
            prepared(data[: int(len(data) * share)], **SCALED)


def test_scaled_goes_with_a_filter_that_averages() -> None:
    with pytest.raises(BundleRefused, match=r"modality\.params\.jpeg"):
        create("image", PARAMS | {"jpeg": "scaled", "antialias": False}, {})
