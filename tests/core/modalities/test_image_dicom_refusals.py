"""What the image modality does to DICOM files that it cannot or must not take: one documented error, never another."""

from __future__ import annotations

import logging
import random
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from app.core.errors import TooLarge, UnusableInput
from app.core.modalities.base import Limits
from tests.core.modalities.pictures import encoded, noise, prepared
from tests.core.modalities.scans import (
    AS_STORED,
    CT,
    PATIENT,
    body_of,
    dataset,
    element,
    file_of,
    noisy,
    refused,
    scan,
    shown,
    thorax,
    written,
)

SAMPLES = noisy("int16", -1000, 3000)
SOUND = {
    "implicit": scan(SAMPLES, syntax=ImplicitVRLittleEndian),
    "explicit": scan(SAMPLES, syntax=ExplicitVRLittleEndian, RescaleSlope="1", RescaleIntercept="-1024"),
    "deflated": scan(SAMPLES, syntax=DeflatedExplicitVRLittleEndian),
    "big endian": scan(SAMPLES, syntax=ExplicitVRBigEndian),
    "rle": scan(SAMPLES, syntax=RLELossless),
    "frames": scan(noisy("uint8", 0, 255, (3, 5, 7))),
    "colour": scan(noisy("uint8", 0, 255, (5, 7, 3)), photometric="RGB"),
    "with a sequence": scan(SAMPLES, OtherPatientIDsSequence=[dataset(SAMPLES), dataset(SAMPLES)]),
}


@pytest.mark.parametrize("name", SOUND)
def test_cut_file_is_refused_or_gives_the_whole_first_frame_never_part_of_it(name: str) -> None:
    data, whole = SOUND[name], shown(SOUND[name])
    for length in range(len(data)):
        try:
            got = shown(data[:length])
        except UnusableInput as error:
            assert error.detail  # noqa: PT017 - either outcome is fine, an error without a sentence is not
            continue
        assert np.array_equal(got, whole), length
        assert length >= len(data) - 4  # nothing is missing but what pads the pixels or follows their end


@pytest.mark.parametrize("name", SOUND)
def test_damaged_file_raises_nothing_but_documented_errors_and_tells_nothing(
    name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(name)
    for _ in range(400):
        data = bytearray(SOUND[name])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(132, len(data))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            prepared(bytes(data), Limits(max_pixels=10**6), **AS_STORED, dicom={"window": "file"})
        except (UnusableInput, TooLarge) as error:
            assert error.detail  # noqa: PT017
            assert "Muster" not in error.detail  # noqa: PT017
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_what_the_library_warns_of_reaches_neither_log_nor_warnings(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An odd character set and a sequence that ends too soon, of which pydicom warns with what stands in the file."""
    odd = file_of(
        element(0x00080005, "CS", b"Mustermann")
        + element(0x00100010, "PN", PATIENT.encode())
        + element(0x00101002, "SQ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + element(0x00100020, "LO", b"47"), 0xFFFFFFFF)
    )
    before = list(warnings.filters)
    with caplog.at_level(logging.DEBUG):
        refused(odd)
        shown(scan(SAMPLES, SpecificCharacterSet="Mustermann"))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
    assert list(warnings.filters) == before


def test_file_without_its_preamble_is_told_what_it_lacks() -> None:
    assert "no DICOM file, which has DICM at byte 128" in refused(SOUND["explicit"][132:])
    assert "no DICOM file" in refused(bytes(200))
    assert "damaged" in refused(encoded(noise(60, 40), "PNG")[:20])


def test_file_that_is_both_tiff_and_dicom_is_read_as_the_former() -> None:
    assert "DICOM" not in refused(b"II*\0" + SOUND["explicit"][4:])


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        ("1.2.840.10008.1.2.4.50", "JPEG Baseline (Process 1)"),
        ("1.2.840.10008.1.2.4.70", "JPEG Lossless"),
        ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
        ("1.2.840.10008.1.2.4.90", "JPEG 2000"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed"),
        ("1.2.840.10008.1.1", "is not known here"),  # a UID, of something else
        ("1.2.840.113619.5.2", "is not known here"),
        ("Mustermann", "is not known here"),
        ("", "is not known here"),
    ],
)
def test_transfer_syntax_that_is_not_read_is_named_where_it_is_known(syntax: str, named: str) -> None:
    said = refused(file_of(body_of(SOUND["explicit"]), syntax))
    assert named in said
    assert "send it uncompressed, deflated or as RLE Lossless" in said


@pytest.mark.parametrize(
    "keyword",
    [
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PixelData",
    ],
)
def test_missing_element_is_named(keyword: str) -> None:
    found = dataset(SAMPLES)
    delattr(found, keyword)
    assert f"lacks {keyword} (" in refused(written(found))


def test_file_of_no_data_set_and_no_transfer_syntax_is_refused() -> None:
    assert "lacks Photometric" in refused(file_of(b""))
    assert "lacks TransferSyntaxUID (0002,0010)" in refused(bytes(128) + b"DICM" + body_of(SOUND["explicit"]))
    assert "lacks TransferSyntaxUID" in refused(bytes(128) + b"DICM")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Rows": 0}, "damaged"),
        ({"Rows": 4}, "damaged"),
        ({"Columns": 8}, "damaged"),
        ({"Columns": 65535, "Rows": 700}, "damaged"),
        ({"NumberOfFrames": 2}, "damaged"),
        ({"NumberOfFrames": 10**9}, "damaged"),
        ({"NumberOfFrames": 0}, "damaged"),
        ({"NumberOfFrames": -1}, "damaged"),
        ({"SamplesPerPixel": 3}, "damaged"),
        ({"BitsStored": 17}, "damaged"),
        ({"BitsStored": 0}, "damaged"),
        ({"HighBit": 14}, "damaged"),
        ({"RescaleSlope": "0"}, "damaged"),
        ({"PixelData": b""}, "damaged"),
        ({"PixelData": SAMPLES.tobytes()[:-2]}, "damaged"),
        ({"PixelData": SAMPLES.tobytes() + b"\0\0"}, "damaged"),
        ({"BitsAllocated": 32}, "size that is not read"),
        ({"BitsAllocated": 1}, "size that is not read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "YBR_FULL_422"}, "YBR_FULL_422"),
        ({"PhotometricInterpretation": "MUSTERMANN"}, "does not list"),
        ({"ModalityLUTSequence": [dataset(SAMPLES)]}, "modality look-up table"),
        ({"ModalityLUTSequence": []}, "modality look-up table"),
        ({"SharedFunctionalGroupsSequence": [dataset(SAMPLES)]}, "functional groups"),
        ({"PerFrameFunctionalGroupsSequence": []}, "functional groups"),
    ],
)
def test_header_that_contradicts_the_pixels_or_asks_for_more_than_is_read(changes: dict[str, Any], words: str) -> None:
    assert words in refused(scan(SAMPLES, **changes))


def test_colour_of_sixteen_bits_is_refused() -> None:
    assert "colour 8" in refused(scan(noisy("uint16", 0, 9, (5, 7, 3)), photometric="RGB"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "declares no window"),
        ({"WindowCenter": "40"}, "declares no window"),
        ({"WindowCenter": "", "WindowWidth": ""}, "declares no window"),
        ({"WindowCenter": "40", "WindowWidth": "0.5"}, "damaged"),
        ({"WindowCenter": "40", "WindowWidth": "400", "VOILUTFunction": "SIGMOID"}, "not linear"),
        ({"WindowCenter": "40", "WindowWidth": "400", "VOILUTFunction": "LINEAR_EXACT"}, "not linear"),
    ],
)
def test_file_without_a_usable_window_is_refused_where_the_file_must_have_one(
    changes: dict[str, str], words: str
) -> None:
    data = scan(SAMPLES, **changes)
    assert words in refused(data, {"window": "file"})
    assert np.ptp(shown(data, CT)) == 255


@pytest.mark.parametrize("value", [b"nan", b"inf", b"1e999", b"-inf", b"0x10", b"1,5 ", b"\xff\xfe", b"Mustermann"])
@pytest.mark.parametrize("tag", [0x00281050, 0x00281051, 0x00281052, 0x00281053])
def test_numbers_that_are_none_are_refused(tag: int, value: bytes) -> None:
    usual = {0x00281050: b"40", 0x00281051: b"400", 0x00281052: b"0 ", 0x00281053: b"1 "} | {tag: value}
    sound = body_of(scan(SAMPLES))
    pixels = sound.index(struct.pack("<HH", 0x7FE0, 0x0010))
    extra = b"".join(element(one, "DS", number + b" " * (len(number) % 2)) for one, number in sorted(usual.items()))
    assert "damaged" in refused(file_of(sound[:pixels] + extra + sound[pixels:]), {"window": "file"})


def test_extreme_but_finite_numbers_show_black_and_white_without_a_fault() -> None:
    samples = noisy("int16", -5, 5)
    got = shown(scan(samples, RescaleSlope="1e308", RescaleIntercept="-1e308"), {"window": [0, 1e308]})
    assert set(np.unique(got)) <= {0, 128, 255}
    assert (got[samples > 1] == 255).all()
    assert (got[samples < 0] == 0).all()


def test_pixel_and_byte_limits_hold_at_their_edge() -> None:
    for name in ("explicit", "rle", "deflated", "frames", "colour"):
        data = SOUND[name]
        assert prepared(data, Limits(max_pixels=35), **AS_STORED, dicom=CT).windows
        with pytest.raises(TooLarge, match="7 x 5 pixels; at most 34"):
            prepared(data, Limits(max_pixels=34), **AS_STORED, dicom=CT)
        with pytest.raises(TooLarge, match="bytes; at most"):
            prepared(data, Limits(max_body_bytes=len(data) - 1), **AS_STORED, dicom=CT)


def test_a_long_honest_header_is_read() -> None:
    """What stands in the way of the hostile is far above what scanners write."""
    sound = body_of(SOUND["explicit"])
    private = b"".join(element(0x00091000 + one, "LO", b"of a maker") for one in range(256)) * 20
    at = sound.index(struct.pack("<HH", 0x0010, 0x0010))
    long = file_of(sound[:at] + private + sound[at:])
    np.testing.assert_array_equal(shown(long), shown(SOUND["explicit"]))


def test_what_stands_after_the_pixels_does_not_matter() -> None:
    padded = SOUND["explicit"] + element(0xFFFCFFFC, "OB", bytes(100)) + b"junk"
    np.testing.assert_array_equal(shown(padded), shown(SOUND["explicit"]))


def test_blank_window_is_refused_as_a_blank_picture() -> None:
    data = scan(thorax(), RescaleSlope="1", RescaleIntercept="-1024")
    assert "blank" in refused(data, {"window": [20_000, 10]})
