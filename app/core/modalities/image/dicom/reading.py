"""From the bytes of a DICOM file to a picture: limits first, then the window. Each step's own rules lie beside it."""

from __future__ import annotations

from PIL import Image

from app.core.errors import TwinserveError, UnusableInput
from app.core.modalities.base import Limits
from app.core.modalities.image.decoding import Decoded, check_pixels
from app.core.modalities.image.dicom.elements import Elements, damaged, parse
from app.core.modalities.image.dicom.frames import COLOUR, Layout, first_frame, read_layout
from app.core.modalities.image.windowing import Dicom, Grey, make_table


def read(data: bytes, limits: Limits, params: Dicom) -> Decoded:
    """Decode the first frame: grey samples through the modality LUT and the window to mode L, colours as stored.

    `data` has its preamble and at most the bytes that are taken. Returns the picture and the notice `first_frame` where
    there are more frames. Raises TooLarge beyond the pixel limit, read before any pixel is unpacked, and where a
    deflated file expands beyond the byte limit; UnusableInput for what is no whole picture of a kind that is read.
    """
    try:
        elements = parse(data, limits)
        layout = read_layout(elements)
        check_pixels((layout.columns, layout.rows), limits)
        return _picture(elements, layout, params), ("first_frame",) if layout.frames > 1 else ()
    except (MemoryError, TwinserveError):
        raise
    except Exception:  # pydicom raises almost any type on damaged files
        raise damaged() from None  # without its cause, which may quote what stands in the file


def _picture(elements: Elements, layout: Layout, params: Dicom) -> Image.Image:
    if layout.photometric in COLOUR:
        channels = [Image.fromarray(channel) for channel in first_frame(elements, layout).transpose(2, 0, 1)]
        return Image.merge(COLOUR[layout.photometric], channels)
    table = make_table(_grey(elements, layout, params))
    # Bits beyond those stored may hold an overlay, or repeat the sign.
    return Image.fromarray(table[first_frame(elements, layout) & (2**layout.stored_bits - 1)])


def _grey(elements: Elements, layout: Layout, params: Dicom) -> Grey:
    """Raises UnusableInput where the file's values come about in a way that is not read, since a window in other units
    would show another picture without anybody noticing.
    """
    if elements.has("SharedFunctionalGroupsSequence") or elements.has("PerFrameFunctionalGroupsSequence"):
        raise UnusableInput(
            "the DICOM file keeps its rescaling and windows in functional groups, which are not read: send one frame "
            "as a file of its own"
        )
    if elements.has("ModalityLUTSequence"):
        raise UnusableInput("the DICOM file has a modality look-up table, which is not read: send rescaled values")
    slope, intercept = elements.number("RescaleSlope", 1.0), elements.number("RescaleIntercept", 0.0)
    if slope == 0.0:
        raise damaged()
    centre, width = _file_window(elements) if params.window == "file" else params.window
    inverted = layout.photometric == "MONOCHROME1"
    return Grey(layout.stored_bits, layout.signed, slope, intercept, centre, width, inverted)


def _file_window(elements: Elements) -> tuple[float, float]:
    """The first window of the file, in output units of its modality LUT."""
    if not (elements.text("WindowCenter", "") and elements.text("WindowWidth", "")):
        raise UnusableInput("the DICOM file declares no window (centre and width), by which this model shows it")
    if elements.text("VOILUTFunction", "LINEAR") != "LINEAR":
        raise UnusableInput("the DICOM file's window is not linear, and no other is read: send one that is")
    centre, width = elements.number("WindowCenter"), elements.number("WindowWidth")
    if width < 1.0:
        raise damaged()
    return centre, width
