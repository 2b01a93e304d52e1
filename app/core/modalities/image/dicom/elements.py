"""What a DICOM file says of itself. pydicom takes the file apart; values are read here, from their bytes.

A caller's file may be built to cost far more than its size, and it names a person: reading is bounded, and nothing
of what it holds gets into a message or a log.
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

from pydicom.config import IGNORE
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from app.core.errors import TooLarge, UnusableInput
from app.core.modalities.base import Limits
from app.core.modalities.image.bounded import Bounded

MAX_READS = 100_000
"""Steps of pydicom through one file, two or three a data element, of which real files of one frame have some hundreds.
A file of countless tiny elements would take a minute."""
MAX_PASSES = 4
"""How often a file may be read over: where lengths lie, pydicom goes back, once for each level of nesting."""

SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    RLELossless,
)
UNDEFINED = 0xFFFFFFFF

TAGS = {
    "TransferSyntaxUID": 0x00020010,
    "SamplesPerPixel": 0x00280002,
    "PhotometricInterpretation": 0x00280004,
    "PlanarConfiguration": 0x00280006,
    "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010,
    "Columns": 0x00280011,
    "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101,
    "HighBit": 0x00280102,
    "PixelRepresentation": 0x00280103,
    "WindowCenter": 0x00281050,
    "WindowWidth": 0x00281051,
    "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053,
    "VOILUTFunction": 0x00281056,
    "ModalityLUTSequence": 0x00283000,
    "SharedFunctionalGroupsSequence": 0x52009229,
    "PerFrameFunctionalGroupsSequence": 0x52009230,
    "PixelData": 0x7FE00010,
}

# pydicom warns of odd files and logs what it warns of, values included; a caller's file must not write to our log.
# Once, as the module loads: warnings.catch_warnings changes the whole process and is not safe between threads.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Elements:
    """The data elements of TAGS that a file has, by the standard's keyword; the file's transfer syntax."""

    syntax: UID
    dataset: Dataset

    @property
    def order(self) -> str:
        """Byte order, as struct and numpy write it."""
        return ">" if self.syntax == ExplicitVRBigEndian else "<"

    def has(self, keyword: str) -> bool:
        """Whether the element is there."""
        return TAGS[keyword] in self.dataset

    def raw(self, keyword: str) -> RawDataElement:
        """The element as stored. Raises UnusableInput where it is missing or its length is not the declared one."""
        element: Any = self.dataset.get_item(TAGS[keyword], keep_deferred=True)
        if element is None:
            tag = f"({TAGS[keyword] >> 16:04X},{TAGS[keyword] & 0xFFFF:04X})"
            raise UnusableInput(f"the DICOM file lacks {keyword} {tag}: send a whole file that holds a picture")
        if not isinstance(element, RawDataElement) or len(element.value or b"") != element.length != UNDEFINED:
            raise damaged()
        return element

    def text(self, keyword: str, default: str | None = None) -> str:
        """One or several strings, separated by backslashes, without padding; `default` where there is none."""
        if default is not None and not self.has(keyword):
            return default
        return (self.raw(keyword).value or b"").decode("ascii").strip(" \0") or default or ""

    def integer(self, keyword: str) -> int:
        """One unsigned 16-bit number."""
        (number,) = struct.unpack(f"{self.order}H", self.raw(keyword).value or b"")
        return int(number)

    def number(self, keyword: str, default: float | None = None) -> float:
        """The first decimal number of an element, finite."""
        number = float(self.text(keyword, None if default is None else str(default)).split("\\")[0])
        if not math.isfinite(number):
            raise damaged()
        return number


def parse(data: bytes, limits: Limits) -> Elements:
    """Take a file apart, up to its pixels; `data` has its preamble.

    Raises UnusableInput for a transfer syntax that is not read and for a file that costs too much, TooLarge for a
    deflated one that expands beyond the byte limit; pydicom may raise almost anything on a damaged file.
    """
    stream = Bounded(data, reads=MAX_READS, passes=MAX_PASSES)
    stream.seek(132)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = UID(Elements(ExplicitVRLittleEndian, meta).text("TransferSyntaxUID"), IGNORE)
    if syntax not in SYNTAXES:
        raise _not_read(syntax)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = Bounded(_inflated(data[stream.tell() :], limits), reads=MAX_READS, passes=MAX_PASSES)
    dataset = read_dataset(
        stream,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=lambda tag, *_: tag > TAGS["PixelData"],
        specific_tags=[BaseTag(tag) for tag in TAGS.values()],
    )
    return Elements(syntax, dataset)


def damaged() -> UnusableInput:
    """The error for a file that contradicts itself or ends too soon."""
    return UnusableInput("the DICOM file is damaged or cut short: send the whole file")


def _inflated(data: bytes, limits: Limits) -> bytes:
    """RFC 1951, of which no more than the byte limit is ever made."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    whole = inflater.decompress(data, limits.max_body_bytes + 1)
    if len(whole) > limits.max_body_bytes:
        raise TooLarge(f"the deflated DICOM file expands beyond {limits.max_body_bytes} bytes, more than are taken")
    if not inflater.eof:
        raise damaged()
    return whole


def _not_read(syntax: UID) -> UnusableInput:
    """Named only where the standard lists it: anything else would be the caller's own text."""
    called = syntax.name if syntax.is_transfer_syntax else "a transfer syntax that is not known here"
    return UnusableInput(
        f"the DICOM file is stored as {called}, which is not read: send it uncompressed, deflated or as RLE Lossless"
    )
