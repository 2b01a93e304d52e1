"""DICOM files made for the tests by pydicom: real ones, and the parts from which hostile ones are put together."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage

from app.core.errors import UnusableInput
from tests.core.modalities.pictures import prepared

PATIENT = "Mustermann^Erika"
"""The person whom every file names, so that tests can look for the name where it must not be."""
WIDTH, HEIGHT = 7, 5
AS_STORED: dict[str, Any] = {
    "fit": "stretch",
    "width": WIDTH,
    "height": HEIGHT,
    "resample": "box",
    "min_contrast": 1,
}
CT = {"window": [40, 400]}


def dataset(
    samples: npt.NDArray[Any],
    *,
    syntax: str = ExplicitVRLittleEndian,
    stored: int | None = None,
    photometric: str = "MONOCHROME2",
    **elements: Any,
) -> Dataset:
    """A data set of (rows, columns), (frames, rows, columns) or, for colour, (rows, columns, 3)."""
    colour = photometric in ("RGB", "YBR_FULL")
    bits = 8 * samples.dtype.itemsize
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(syntax if syntax != RLELossless else ExplicitVRLittleEndian)
    found.SOPClassUID, found.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    found.PatientName, found.PatientID = PATIENT, "4711"
    found.SamplesPerPixel, found.PhotometricInterpretation = 3 if colour else 1, photometric
    found.Rows, found.Columns = samples.shape[-3:-1] if colour else samples.shape[-2:]
    found.BitsAllocated, found.BitsStored = bits, stored or bits
    found.HighBit, found.PixelRepresentation = found.BitsStored - 1, int(samples.dtype.kind == "i")
    if colour:
        found.PlanarConfiguration = 0
    if samples.ndim == 3 and not colour:
        found.NumberOfFrames = len(samples)
    big = syntax == ExplicitVRBigEndian
    raw = samples.astype(samples.dtype.newbyteorder(">" if big else "<")).tobytes()
    found.PixelData = raw + b"\0" * (len(raw) % 2)
    found["PixelData"].VR = "OB" if bits == 8 else "OW"
    if syntax == RLELossless:
        found.compress(RLELossless, encoding_plugin="pydicom")
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def written(found: Dataset) -> bytes:
    """The file of a data set."""
    buffer = BytesIO()
    dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


def scan(samples: npt.NDArray[Any], **options: Any) -> bytes:
    """The file of a picture; `options` are those of `dataset`, elements by their keyword among them."""
    return written(dataset(samples, **options))


def shown(data: bytes, dicom: dict[str, Any] | None = None, **params: Any) -> npt.NDArray[np.uint8]:
    """The picture as stored, windowed: (HEIGHT, WIDTH), or with 3 channels in mode RGB."""
    (window,) = prepared(data, **(AS_STORED | {"dicom": dicom or CT} | params)).windows
    array: npt.NDArray[np.uint8] = window["pixels"]
    return array[:, :, 0] if array.shape[2] == 1 else array


def refused(data: bytes, dicom: dict[str, Any] | None = None) -> str:
    """The sentence with which a file is refused as unusable; it never tells whose it is."""
    with pytest.raises(UnusableInput) as caught:
        shown(data, dicom)
    assert "Mustermann" not in caught.value.detail
    return caught.value.detail


def noisy(dtype: str, low: int, high: int, shape: tuple[int, ...] = (HEIGHT, WIDTH), seed: int = 1) -> npt.NDArray[Any]:
    """Samples between low and high, both among them."""
    samples = np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(dtype)
    samples.flat[0], samples.flat[1] = low, high
    return samples


def thorax(side: int = 96) -> npt.NDArray[np.int16]:
    """Hounsfield units as CT stores them, 1024 too high: air, lungs, soft tissue, bone. int16 (side, side + 20)."""
    rows, columns = np.indices((side, side + 20)) / side - 0.5
    values = np.where(rows**2 + (columns - 0.1) ** 2 < 0.2, 40, -1000)
    for place in (-0.1, 0.3):
        values = np.where(2 * rows**2 + 6 * (columns - place) ** 2 < 0.1, -700, values)
    values = np.where(rows**2 + (columns - 0.1) ** 2 < 0.002, 600, values)
    return (values + np.random.default_rng(3).normal(0, 12, values.shape).round() + 1024).astype(np.int16)


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """One data element, explicit VR little endian; `length` is what it claims."""
    claimed = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    long = vr in ("OB", "OW", "SQ", "UN", "UT")
    return head + (struct.pack("<HI", 0, claimed) if long else struct.pack("<H", claimed)) + value


def file_of(body: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file with this data set, whatever it holds."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", uid)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + body


def body_of(data: bytes) -> bytes:
    """The data set of a file that pydicom wrote, without preamble and file meta."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[144 + length :]


def deflated(body: bytes) -> bytes:
    """RFC 1951."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()
