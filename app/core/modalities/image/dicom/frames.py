"""The samples of a DICOM file's first frame: how they lie, and how to unpack them. No grey levels, no colours."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.uid import RLELossless

from app.core.errors import UnusableInput
from app.core.modalities.image.dicom.elements import UNDEFINED, Elements, damaged

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = {"RGB": "RGB", "YBR_FULL": "YCbCr"}
"""Colours that are read, and their mode in Pillow, whose YCbCr is the standard's formula."""
NOT_READ = ("PALETTE COLOR", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB", "HSV", "ARGB", "CMYK")

MAX_FRAGMENTS = 100_000
RLE_HEADER = 64

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Layout:
    """How samples lie; bits are those of one sample."""

    rows: int
    columns: int
    channels: int
    photometric: str
    allocated_bits: int
    stored_bits: int
    signed: bool
    planes: bool
    frames: int

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.rows * self.columns


def read_layout(elements: Elements) -> Layout:
    """Raises UnusableInput for a kind of picture that is not read; ValueError and such for nonsense."""
    photometric = elements.text("PhotometricInterpretation")
    channels = 3 if photometric in COLOUR else 1
    layout = Layout(
        rows=elements.integer("Rows"),
        columns=elements.integer("Columns"),
        channels=channels,
        photometric=photometric,
        allocated_bits=elements.integer("BitsAllocated"),
        stored_bits=elements.integer("BitsStored"),
        signed=bool(elements.integer("PixelRepresentation")),
        planes=channels > 1 and bool(elements.integer("PlanarConfiguration")),
        frames=int(elements.text("NumberOfFrames", "1")),
    )
    if photometric not in (*GREY, *COLOUR):
        called = photometric if photometric in NOT_READ else "of a kind that the standard does not list"
        raise UnusableInput(f"the DICOM file's pixels are {called}, which are not read: send grey, RGB or YBR_FULL")
    if layout.allocated_bits not in (8, 16) or (channels > 1 and (layout.stored_bits, layout.signed) != (8, False)):
        raise UnusableInput("the DICOM file has samples of a size that is not read: send 8 or 16 bits, colour 8")
    if not 1 <= layout.stored_bits <= layout.allocated_bits or elements.integer("HighBit") != layout.stored_bits - 1:
        raise damaged()
    if elements.integer("SamplesPerPixel") != channels or layout.pixels < 1 or layout.frames < 1:
        raise damaged()
    return layout


def first_frame(elements: Elements, layout: Layout) -> Samples:
    """The bit patterns of the samples: (rows, columns), or (rows, columns, 3) for colour.

    Raises UnusableInput where there are more or fewer samples than the file declares: one of the two is a lie.
    """
    if elements.syntax == RLELossless:
        samples, planes = _from_rle(_fragments(elements, layout)[0], layout), True
    else:
        samples, planes = _from_bytes(elements, layout), layout.planes
    if layout.channels == 1:
        return samples.reshape(layout.rows, layout.columns)
    if planes:
        return np.moveaxis(samples.reshape(layout.channels, layout.rows, layout.columns), 0, -1)
    return samples.reshape(layout.rows, layout.columns, layout.channels)


def _from_bytes(elements: Elements, layout: Layout) -> Samples:
    element, width = elements.raw("PixelData"), layout.allocated_bits // 8
    size = layout.pixels * layout.channels * width
    stored = np.frombuffer(element.value or b"", dtype=np.uint8)
    if element.length == UNDEFINED or not 0 <= len(stored) - size * layout.frames <= 1:  # one byte pads to even
        raise damaged()
    if elements.order == ">" and width == 1 and element.VR == "OW":  # two samples to a word, whose bytes are swapped
        stored = stored.reshape(-1, 2)[:, ::-1].reshape(-1)
    return np.frombuffer(stored[:size].tobytes(), dtype=f"{elements.order}u{width}")


def _fragments(elements: Elements, layout: Layout) -> list[bytes]:
    """The fragments of encapsulated pixels, without the table of offsets: in RLE, one a frame (PS3.5 A.4.2)."""
    element = elements.raw("PixelData")
    if element.length != UNDEFINED:
        raise damaged()
    value, at = element.value or b"", 0
    fragments: list[bytes] = []
    while at < len(value) and len(fragments) <= MAX_FRAGMENTS:
        group, number, length = struct.unpack_from("<HHI", value, at)
        if (group, number) != (0xFFFE, 0xE000):
            raise damaged()
        fragments.append(value[at + 8 : at + 8 + length])
        at += 8 + length
    if at != len(value) or len(fragments) != 1 + layout.frames:
        raise damaged()
    return fragments[1:]


def _from_rle(fragment: bytes, layout: Layout) -> Samples:
    """PS3.5 annex G: a run-length coded segment for each byte of a sample, the highest first, channel by channel."""
    width = layout.allocated_bits // 8
    count = layout.channels * width
    header = struct.unpack_from("<16I", fragment)
    offsets = [*header[1 : 1 + count], len(fragment)]
    if header[0] != count or offsets[0] != RLE_HEADER or offsets != sorted(offsets):
        raise damaged()
    planes = [_unpacked(fragment[start:end], layout.pixels) for start, end in pairwise(offsets)]
    return np.stack(planes, axis=1).reshape(-1).view(">u2") if width == 2 else np.concatenate(planes)


def _unpacked(segment: bytes, size: int) -> npt.NDArray[np.uint8]:
    """PackBits by Pillow, which never makes more than `size` bytes and lets go of the interpreter. One row, however
    many the picture has, so that runs may go on from one to the next.
    """
    whole = np.asarray(Image.frombytes("L", (size, 1), segment, "packbits", "L")).reshape(-1)
    try:
        Image.frombytes("L", (size + 1, 1), segment, "packbits", "L")
    except ValueError:  # not enough for one more byte: as it must be
        return whole
    raise damaged()
