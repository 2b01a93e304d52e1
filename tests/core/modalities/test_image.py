"""What the image modality does to sound pictures: formats, modes, orientation, geometry.

A little long, since each picture format and mode has its case.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.core.errors import BundleRefused, InvalidRequest
from app.core.modalities import create
from app.core.modalities.base import Limits
from app.core.modalities.image import modality
from tests.core.modalities.pictures import (
    PARAMS,
    corner_levels,
    corners,
    encoded,
    exif,
    grey_tiff,
    noise,
    pixels,
    prepared,
)

LEVELS = [40, 100, 160, 220]
STORED: dict[str, Any] = {
    "fit": "stretch",
    "width": 60,
    "height": 40,
    "resample": "box",
}  # the picture as it is, nothing resized


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_every_lossless_format_gives_the_very_same_pixels(form: str, options: dict[str, Any]) -> None:
    picture = corners()
    got = prepared(encoded(picture, form, **options), **STORED)
    assert np.array_equal(got.windows[0]["pixels"][:, :, 0], np.asarray(picture))
    assert got.notices == ()


@pytest.mark.parametrize(
    ("form", "options"),
    [("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True}), ("WEBP", {"quality": 95})],
)
def test_lossy_formats_come_close(form: str, options: dict[str, Any]) -> None:
    assert np.abs(np.array(corner_levels(pixels(encoded(corners(), form, **options), **STORED))) - LEVELS).max() <= 3


def test_one_bit_picture_becomes_black_and_white() -> None:
    picture = corners().point(lambda level: 255 * (level > 90)).convert("1")
    assert corner_levels(pixels(encoded(picture, "PNG"), **STORED)) == [0, 255, 255, 255]


def test_palette_indices_are_looked_up_and_never_taken_for_grey() -> None:
    picture = Image.new("P", (60, 40), 0)
    picture.putpalette([250, 250, 250, 10, 10, 10])
    picture.paste(1, (0, 0, 30, 40))
    assert corner_levels(pixels(encoded(picture, "PNG"), **STORED)) == [10, 250, 10, 250]


def test_colours_stay_in_order_and_grey_is_their_luma() -> None:
    picture = Image.new("RGB", (60, 40), (200, 100, 50))
    picture.paste((10, 20, 30), (0, 0, 30, 40))
    data = encoded(picture, "PNG")
    assert pixels(data, **STORED, mode="RGB")[20, 45].tolist() == [200, 100, 50]
    assert pixels(data, **STORED)[20, 45] == round(200 * 0.299 + 100 * 0.587 + 50 * 0.114)


def test_cmyk_jpeg_is_converted_not_inverted() -> None:
    picture = Image.merge("RGB", [corners()] * 3).convert("CMYK")
    assert np.abs(np.array(corner_levels(pixels(encoded(picture, "JPEG", quality=95), **STORED))) - LEVELS).max() <= 4


def test_lab_tiff_is_converted_not_taken_for_rgb() -> None:
    neutral = Image.merge("LAB", (corners(), *[Image.new("L", (60, 40), 128)] * 2))  # no chroma: greys
    got = pixels(encoded(neutral, "TIFF"), **STORED, mode="RGB")
    assert np.ptp(got, axis=2).max() <= 2
    assert corner_levels(got[:, :, 0]) == sorted(corner_levels(got[:, :, 0]))


@pytest.mark.parametrize("background", [255, 90])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_shows_the_background_and_not_the_hidden_colour(mode: str, background: int) -> None:
    alpha = Image.new("L", (60, 40), 255)
    alpha.paste(0, (30, 0, 60, 40))
    alpha.paste(128, (30, 20, 60, 40))
    black = [Image.new("L", (60, 40), 0)] * (len(mode) - 1)
    levels = corner_levels(pixels(encoded(Image.merge(mode, [*black, alpha]), "PNG"), **STORED, background=background))
    assert levels[0] == 0
    assert levels[1] == background
    assert levels[3] == pytest.approx(background * 127 / 255, abs=1)


def test_transparency_is_laid_over_the_background_in_strips_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (41, 60, 4), dtype=np.uint8)
    picture = encoded(Image.fromarray(levels), "PNG")
    options = STORED | {"height": 41, "mode": "RGB", "background": 90}
    whole = pixels(picture, **options)
    for rows in (0, 1, 7, 40):
        monkeypatch.setattr(modality, "STRIP_PIXELS", rows * 60)
        np.testing.assert_array_equal(pixels(picture, **options), whole)
    paper = Image.new("RGBA", (60, 41), (90, 90, 90, 255))
    np.testing.assert_array_equal(whole, np.asarray(Image.alpha_composite(paper, Image.fromarray(levels)))[..., :3])


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"], ids=["one colour", "one alpha a colour"])
def test_transparent_palette_colour_shows_the_background(transparency: int | bytes) -> None:
    picture = Image.new("P", (60, 40), 0)
    picture.putpalette([10, 10, 10, 200, 0, 0])
    picture.paste(1, (30, 0, 60, 40))
    assert corner_levels(pixels(encoded(picture, "PNG", transparency=transparency), **STORED))[:2] == [10, 255]


def test_transparent_gif_and_webp_show_the_background() -> None:
    picture = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    picture.paste((10, 10, 10, 255), (0, 0, 30, 40))
    for data in (encoded(picture, "GIF"), encoded(picture, "WEBP", lossless=True)):
        assert corner_levels(pixels(data, **STORED))[:2] == [10, 255]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(form: str) -> None:
    wide = np.asarray(corners()).astype(np.uint16) * 257
    wide[0, 0], wide[0, 1], wide[0, 2] = 65535, 128, 129  # half of 257 is 128.5
    got = pixels(encoded(Image.fromarray(wide), form), **STORED)
    assert corner_levels(got) == LEVELS
    assert got[0, :3].tolist() == [255, 0, 1]


def test_sixteen_bit_tiff_keeps_its_levels_in_either_byte_order_and_when_white_is_zero() -> None:
    wide = np.asarray(corners()).astype(np.uint16) * 257
    assert corner_levels(pixels(grey_tiff(60, 40, wide.astype("<u2").tobytes(), bits=16), **STORED)) == LEVELS
    assert (
        corner_levels(pixels(grey_tiff(60, 40, wide.astype(">u2").tobytes(), bits=16, order=">"), **STORED)) == LEVELS
    )
    inverted = grey_tiff(60, 40, (65535 - wide).astype("<u2").tobytes(), bits=16, photometric=0)
    assert corner_levels(pixels(inverted, **STORED)) == LEVELS


def test_transparent_level_of_a_sixteen_bit_png_shows_the_background() -> None:
    wide = np.asarray(corners()).astype(np.uint16) * 257
    data = encoded(Image.fromarray(wide), "PNG", transparency=40 * 257)
    assert corner_levels(pixels(data, **STORED, background=7)) == [7, 100, 160, 220]


def test_sixteen_bit_picture_is_turned_too() -> None:
    wide = Image.fromarray(np.asarray(corners().rotate(90, expand=True)).astype(np.uint16) * 257)
    assert corner_levels(pixels(encoded(wide, "PNG", exif=exif(6)), **STORED)) == LEVELS


STORED_AS = {  # EXIF 2.32, 4.6.4.A: how a camera stores a picture whose upright form has this orientation
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_270,),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_orientation_is_applied_or_ignored_as_the_manifest_says(form: str, orientation: int) -> None:
    stored = corners()
    for step in STORED_AS[orientation]:
        stored = stored.transpose(step)
    data = encoded(stored, form, exif=exif(orientation))
    upright = pixels(data, **STORED)
    assert np.abs(np.array(corner_levels(upright)) - LEVELS).max() <= 6
    as_stored = pixels(
        data, fit="stretch", width=stored.width, height=stored.height, resample="box", orientation="ignore"
    )
    assert np.abs(np.array(corner_levels(as_stored)) - corner_levels(np.asarray(stored))).max() <= 6


@pytest.mark.parametrize("value", [0, 9, 40000])
def test_undefined_orientation_leaves_the_picture_as_stored(value: int) -> None:
    assert corner_levels(pixels(encoded(corners(), "PNG", exif=exif(value)), **STORED)) == LEVELS


def test_first_frame_alone_is_taken_and_said_so() -> None:
    first, second = corners(), corners().transpose(Image.Transpose.ROTATE_180)
    more: dict[str, Any] = {"save_all": True, "append_images": [second, second]}
    for form, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        got = prepared(encoded(first, form, **more, **options), **STORED)
        assert got.notices == ("first_frame",), form
        assert corner_levels(got.windows[0]["pixels"][:, :, 0]) == LEVELS, form


def test_stretch_pad_and_crop_differ_as_they_should() -> None:
    data = encoded(corners(96, 48), "PNG")
    stretched, padded, cropped = (pixels(data, fit=fit, resample="box") for fit in ("stretch", "pad", "crop"))
    assert corner_levels(stretched) == LEVELS
    assert stretched[0, 0] == stretched[23, 0] == 40
    assert padded[:12].tolist() == padded[36:].tolist() == [[255] * 48] * 12
    assert padded[12].tolist() == [40] * 24 + [100] * 24
    assert padded[35].tolist() == [160] * 24 + [220] * 24
    assert cropped[0].tolist() == [40] * 24 + [100] * 24  # the middle 48 columns, unscaled
    marked = corners(96, 48)
    marked.paste(0, (0, 0, 20, 48))
    assert np.array_equal(pixels(encoded(marked, "PNG"), fit="crop", resample="box"), cropped)


def test_pad_of_an_upright_picture_fills_left_and_right() -> None:
    padded = pixels(encoded(corners(24, 48), "PNG"), background=9)
    assert padded[:, :12].tolist() == padded[:, 36:].tolist() == [[9] * 12] * 48
    assert corner_levels(padded[:, 12:36]) == LEVELS


def test_reduction_averages_under_antialias_and_samples_without() -> None:
    rows = np.repeat(np.array([0, 200], dtype=np.uint8), 48)[:, np.newaxis]
    stripes = Image.fromarray(rows + np.tile(np.array([0, 0, 0, 55], dtype=np.uint8), (96, 48)))
    data = encoded(stripes, "PNG")
    smooth, sampled = (pixels(data, fit="stretch", antialias=flag) for flag in (True, False))
    assert np.ptp(smooth[5, 3:45]) <= 1  # each target column is four source columns wide: their average
    assert smooth[5, 20] == pytest.approx(55 / 4, abs=1)
    assert set(np.unique(sampled[5])) == {0}  # only the two columns beside each centre count


def test_resampling_filters_differ() -> None:
    data = encoded(noise(100, 70), "PNG")
    results = [pixels(data, resample=name).tobytes() for name in ("box", "bilinear", "hamming", "bicubic", "lanczos")]
    assert len(set(results)) == 5


def test_extreme_aspect_ratio_keeps_at_least_one_pixel() -> None:
    line = Image.fromarray((np.arange(3000, dtype=np.uint32)[np.newaxis] % 2000 // 8).astype(np.uint8))
    padded = pixels(encoded(line, "PNG"))
    assert (padded != 255).any(axis=1).sum() == 1


def test_same_bytes_give_the_same_pixels_whatever_was_prepared_between() -> None:
    modality = create("image", PARAMS, {})
    data = encoded(noise(300, 200), "JPEG")
    first = modality.prepare({"bytes": data}, Limits()).windows[0]["pixels"]
    modality.prepare({"bytes": encoded(corners(), "GIF")}, Limits())
    assert np.array_equal(first, modality.prepare({"bytes": data}, Limits()).windows[0]["pixels"])


def test_windows_share_one_bucket_and_stack_to_a_batch() -> None:
    modality = create("image", PARAMS | {"mode": "RGB", "width": 32}, {})
    windows = [modality.prepare({"bytes": encoded(noise(20, 30, seed), "PNG")}, Limits()).windows[0] for seed in (1, 2)]
    windows += modality.examples()
    assert len({modality.bucket(window) for window in windows}) == 1
    batch = modality.collate(windows)["pixels"]
    assert (batch.shape, batch.dtype) == ((3, 48, 32, 3), np.dtype(np.uint8))
    assert np.array_equal(batch[1], windows[1]["pixels"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sharpen": True}, "sharpen"),
        ({"mode": "CMYK"}, "mode"),
        ({"fit": "cover"}, "fit"),
        ({"width": 0}, "width"),
        ({"height": 5000}, "height"),
        ({"resample": "nearest"}, "resample"),
        ({"background": 256}, "background"),
        ({"min_contrast": 0}, "min_contrast"),
        ({"contrast": "stretch"}, "contrast"),
        ({"contrast": "paper", "mode": "RGB"}, "contrast"),
        ({"antialias": False, "resample": "lanczos"}, "resample"),
    ],
)
def test_params_outside_the_closed_set_refuse_the_bundle(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BundleRefused, match=rf"modality\.params\.{field}"):
        create("image", PARAMS | change, {})


@pytest.mark.parametrize("field", sorted(PARAMS))
def test_every_step_of_the_preparation_must_be_named(field: str) -> None:
    with pytest.raises(BundleRefused, match=field):
        create("image", {name: value for name, value in PARAMS.items() if name != field}, {})


@pytest.mark.parametrize("item", [{}, {"text": "a"}, {"bytes": b"", "page": 2}])
def test_unknown_or_missing_members_are_refused(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        create("image", PARAMS, {}).prepare(item, Limits())


def summary_of(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return create("image", PARAMS, {}).summarize({"pixels": pixels[:, :, np.newaxis]})


def test_summary_counts_shades_and_steps() -> None:
    halves = np.zeros((48, 48), dtype=np.uint8)
    halves[:, 24:] = 255
    expected = [np.sqrt(0.5), 0.0, np.sqrt(0.5), 1 / 47, 0.0]
    np.testing.assert_allclose(summary_of(halves), expected, rtol=1e-5)
    np.testing.assert_allclose(summary_of(halves.T), [*expected[:3], 0.0, 1 / 47], rtol=1e-5)
    np.testing.assert_allclose(summary_of(np.full((48, 48), 128, dtype=np.uint8)), [0, 1, 0, 0, 0])
