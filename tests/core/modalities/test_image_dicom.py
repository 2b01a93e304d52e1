"""What the image modality does to sound DICOM files: windows, byte orders, sizes of samples, compression, colours."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.pixels.processing import apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from app.core.bundle import read_bundle
from app.core.errors import BundleRefused, UnusableInput
from app.core.modalities import create
from app.core.modalities.image import Params
from app.core.modalities.image.windowing import Grey, make_table
from tests.core.modalities.pictures import PARAMS, corners, encoded, pixels, prepared
from tests.core.modalities.scans import AS_STORED, CT, dataset, noisy, scan, shown, thorax, written

ROOT = Path(__file__).resolve().parents[3]
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
)
FULL = {"window": [32768, 65536]}


def grey(**changes: Any) -> Grey:
    usual = Grey(stored_bits=16, signed=False, slope=1.0, intercept=0.0, centre=40.0, width=400.0, inverted=False)
    return Grey(**({name: getattr(usual, name) for name in Grey.__slots__} | changes))


@pytest.mark.parametrize(
    ("centre", "width", "expected"),
    [  # the first four are the notes of PS3.3 C.11.2.1.2.1; the last was worked out by hand
        (2048, 4096, {0: 0, 1: 0, 2047: 127, 2048: 128, 4094: 255, 4095: 255, 4096: 255}),
        (2048, 1, {2047: 0, 2048: 255}),
        (0, 100, {-50: 0, -49: 3, -1: 126, 0: 129, 48: 252, 49: 255, 50: 255}),
        (0, 1, {-1: 0, 0: 255}),
        (40, 400, {-1000: 0, -160: 0, -159: 1, 0: 102, 40: 128, 100: 166, 238: 254, 239: 255, 240: 255}),
    ],
)
def test_window_follows_the_linear_formula_of_the_standard(
    centre: float, width: float, expected: dict[int, int]
) -> None:
    table = make_table(grey(signed=True, centre=centre, width=width))
    assert {value: int(table[value & 0xFFFF]) for value in expected} == expected


def test_levels_are_rounded_to_the_nearest_and_halves_up() -> None:
    table = make_table(grey(centre=0.5, width=511, stored_bits=8))  # 255 levels over 510 steps: every odd one a half
    assert [int(table[value]) for value in (0, 1, 2, 3, 4)] == [128, 128, 129, 129, 130]


def test_window_agrees_with_the_library_on_every_value() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for centre, width in ((1000.0, 800.0), (30000.5, 1.0), (100.0, 65000.0), (-5.0, 64.0)):
        theirs = apply_windowing(values, dataset(values, WindowCenter=centre, WindowWidth=width))
        ours = make_table(grey(centre=centre, width=width))[values]
        assert np.abs(ours - theirs / 257.0).max() <= 0.5 + 1e-9


def test_slope_and_intercept_come_before_the_window() -> None:
    table = make_table(grey(signed=True, slope=0.5, intercept=-1024.0))
    for stored, value in ((2128, 40), (2048, 0), (1730, -159), (1728, -160), (2526, 239)):
        assert table[stored] == make_table(grey(signed=True))[value & 0xFFFF]
    falling = make_table(grey(slope=-1.0, intercept=100.0))
    assert [int(falling[one]) for one in (0, 60, 1000)] == [166, 128, 0]


def test_ct_shows_hounsfield_units_in_the_declared_window() -> None:
    samples = np.tile(np.array([24, 864, 865, 1024, 1064, 1124, 3000], dtype=np.int16), (5, 1))
    data = scan(samples, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="-600", WindowWidth="1500")
    assert shown(data)[0].tolist() == [0, 0, 1, 102, 128, 166, 255]
    assert shown(data, {"window": "file"})[0].tolist() != shown(data)[0].tolist()


def test_white_is_zero_becomes_black_is_zero() -> None:
    samples = noisy("uint16", 0, 4095)
    options: dict[str, Any] = {"stored": 12, "WindowCenter": "2048", "WindowWidth": "4096"}
    usual = shown(scan(samples, **options), {"window": "file"})
    inverted = shown(scan(samples, photometric="MONOCHROME1", **options), {"window": "file"})
    assert usual[0, :2].tolist() == [0, 255]
    np.testing.assert_array_equal(inverted, 255 - usual)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("dtype", "stored", "low", "high"),
    [
        ("uint8", 8, 0, 255),
        ("int8", 8, -128, 127),
        ("uint16", 12, 0, 4095),
        ("int16", 12, -2048, 2047),
        ("uint16", 16, 0, 65535),
        ("int16", 16, -32768, 32767),
    ],
)
def test_samples_are_those_that_the_library_reads(syntax: str, dtype: str, stored: int, low: int, high: int) -> None:
    data = scan(noisy(dtype, low, high), syntax=syntax, stored=stored)
    theirs = pixel_array(dcmread(BytesIO(data)))
    assert (theirs.min(), theirs.max()) == (low, high)
    window = {"window": [(low + high + 1) / 2, high - low + 1]}
    table = make_table(grey(signed=low < 0, centre=window["window"][0], width=high - low + 1))
    np.testing.assert_array_equal(shown(data, window), table[theirs.astype(np.int64) & 0xFFFF])


def test_bytes_of_words_are_told_from_bytes_in_big_endian_files() -> None:
    samples = noisy("uint8", 0, 255)
    as_bytes = dataset(samples, syntax=ExplicitVRBigEndian)
    as_words = dataset(samples, syntax=ExplicitVRBigEndian)
    words = np.frombuffer(as_bytes.PixelData, dtype=np.uint8).reshape(-1, 2)[:, ::-1]
    as_words.PixelData = words.tobytes()
    as_words["PixelData"].VR = "OW"
    window = {"window": [128, 256]}
    np.testing.assert_array_equal(shown(written(as_bytes), window), samples)
    np.testing.assert_array_equal(shown(written(as_words), window), samples)


def test_bits_above_those_stored_do_not_count() -> None:
    samples = noisy("uint16", 0, 4095)
    overlaid = samples | np.uint16(0xA000)
    window = {"window": [2048, 4096]}
    np.testing.assert_array_equal(
        shown(scan(samples, stored=12), window), shown(scan(overlaid, stored=12), window), strict=True
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_first_of_several_frames_alone_is_taken_and_said_so(syntax: str, dtype: str) -> None:
    frames = noisy(dtype, 0, 255, (3, 5, 7))
    got = prepared(scan(frames, syntax=syntax), **AS_STORED, dicom={"window": [128, 256]})
    assert got.notices == ("first_frame",)
    np.testing.assert_array_equal(got.windows[0]["pixels"][:, :, 0], frames[0])
    assert prepared(scan(frames[:1], syntax=syntax), **AS_STORED, dicom=FULL | CT).notices == ()


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("planes", [0, 1])
def test_colours_are_taken_as_stored_and_become_grey_as_in_other_pictures(syntax: str, planes: int) -> None:
    colours = noisy("uint8", 0, 255, (5, 7, 3))
    found = dataset(colours, syntax=syntax, photometric="RGB")
    if planes and syntax != RLELossless:  # whose segments are planes whatever is declared
        found.PlanarConfiguration = 1
        raw = np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes()
        found.PixelData = raw + b"\0"
    np.testing.assert_array_equal(shown(written(found), mode="RGB"), colours)
    as_png = pixels(encoded(Image.fromarray(colours), "PNG"), **AS_STORED)
    np.testing.assert_array_equal(shown(written(found)), as_png)


def test_luma_and_chroma_become_the_colours_that_they_stand_for() -> None:
    red = np.tile(np.array([76, 85, 255], dtype=np.uint8), (5, 7, 1))
    red[:, :3] = (128, 128, 128)
    got = shown(scan(red, photometric="YBR_FULL"), mode="RGB")
    assert np.abs(got[0, 6].astype(int) - [254, 0, 0]).max() <= 1
    assert got[0, 0].tolist() == [128, 128, 128]


def test_first_of_several_windows_of_the_file_counts() -> None:
    data = scan(noisy("uint16", 0, 4095), WindowCenter=["1000", "9"], WindowWidth=["500", "9"], VOILUTFunction="LINEAR")
    np.testing.assert_array_equal(shown(data, {"window": "file"}), shown(data, {"window": [1000, 500]}))


def test_grey_scan_is_the_same_in_three_channels() -> None:
    data = scan(thorax(), RescaleSlope="1", RescaleIntercept="-1024")
    one, three = (prepared(data, mode=mode, dicom=CT).windows[0]["pixels"] for mode in ("L", "RGB"))
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=2))
    assert np.ptp(one) > 200


def test_run_lengths_that_cross_rows_are_followed() -> None:
    """Against the standard's letter, but written; a decoder that works row by row would lose the rest of each run."""
    flat = np.full((5, 7), 9, dtype=np.uint8)
    flat[4, 6] = 200
    found = dataset(flat, syntax=RLELossless)
    segment = bytes([257 - 34, 9, 0, 200])  # 34 nines in one run
    frame = np.array([1, 64, *[0] * 14], dtype="<u4").tobytes() + segment
    found.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + len(frame).to_bytes(4, "little") + frame
    np.testing.assert_array_equal(shown(written(found), {"window": [128, 256]}), flat)


def test_other_pictures_are_prepared_as_without_dicom() -> None:
    for form in ("PNG", "JPEG", "TIFF"):
        data = encoded(corners(), form)
        np.testing.assert_array_equal(pixels(data, dicom=CT), pixels(data))


def test_media_type_is_taken_only_where_declared() -> None:
    assert not "application/dicom".startswith(create("image", PARAMS, {}).media_types)
    declaring = create("image", PARAMS | {"dicom": CT}, {})
    assert "application/dicom".startswith(declaring.media_types)
    assert "image/png".startswith(declaring.media_types)


def test_a_model_that_declares_no_dicom_says_so_of_a_dicom_file() -> None:
    for params in ({}, {"dicom": None}):
        with pytest.raises(UnusableInput, match="this is a DICOM file, which this model does not take"):
            prepared(scan(thorax()), **params)


def test_params_written_before_there_was_dicom_stay_what_they_are() -> None:
    shipped = [read_bundle(folder) for folder in (ROOT / "models" / "glyphs").iterdir()]  # checks its fingerprint
    assert shipped
    for bundle in shipped:
        assert "dicom" not in bundle.manifest.modality.params
        assert Params.model_validate(dict(bundle.manifest.modality.params)).dicom is None


@pytest.mark.parametrize(
    "value",
    [
        True,
        {},
        {"window": None},
        {"window": "File"},
        {"window": [40]},
        {"window": [40, 0.5]},
        {"window": [40, float("inf")]},
        {"window": [float("nan"), 400]},
        {"window": ["40", "400"]},
        {"window": [40, True]},
        {"window": [40, 400], "invert": True},
    ],
)
def test_windows_outside_the_closed_set_refuse_the_bundle(value: Any) -> None:
    with pytest.raises(BundleRefused, match=r"modality\.params\.dicom"):
        create("image", PARAMS | {"dicom": value}, {})


WITHOUT = """
import sys
sys.modules["pydicom"] = None
from app.core.modalities import create
from app.core.errors import BundleRefused
create("image", {params!r}, {{}})
print("other pictures are served")
try:
    create("image", {params!r} | {{"dicom": {{"window": "file"}}}}, {{}})
except BundleRefused as error:
    print(error.detail)
"""


def test_the_package_is_needed_by_bundles_that_declare_dicom_and_by_no_others() -> None:
    code = WITHOUT.format(params=PARAMS)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    said = run.stdout.splitlines()
    assert said == [
        "other pictures are served",
        "modality.params.dicom needs the package 'pydicom', which is not installed",
    ]
