"""From the bytes of a file to its first frame, upright: limits first, then Pillow. No colour and no size is changed.

PNG, JPEG, WebP, BMP, GIF and TIFF, and DICOM where a bundle declares it; content decides the decoder, never a
declared type.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

from PIL import Image

from app.core.errors import TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Limits
from app.core.modalities.image import header
from app.core.modalities.image.bounded import Bounded, CostsTooMuchError
from app.core.modalities.image.samples import is_wide, narrow

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
KINDS = "PNG, JPEG, WebP, BMP, GIF or TIFF"
ORIENTATION_TAG = 0x0112

MAX_READS = 300_000
"""Steps of Pillow through one file. A GIF of the most bytes that are taken has 130,000 blocks; PNG, JPEG and TIFF files
have some thousands of parts at most."""
MAX_PASSES = 4
"""How often a file may be read over. Pillow reads most once; strips of a TIFF may lie over one another."""

Decoded = tuple[Image.Image, tuple[str, ...]]
"""The first frame, of at most 8 bits a channel, and what was done to get it."""

# EXIF orientation -> what brings the picture upright; 1 and anything undefined leave it as stored.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)
UNDO = UPRIGHT | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

# Pillow warns of odd metadata and of sizes that our own limit already bounds; a caller's file must not write to our
# log. Once, as the module loads: warnings.catch_warnings changes the whole process and is not safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)


def decode(
    data: bytes,
    limits: Limits,
    *,
    upright: bool,
    least: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
    read_dicom: Callable[[bytes, Limits], Decoded] | None = None,
) -> Decoded:
    """Decode the first frame; turned as its EXIF orientation says if `upright`, else as stored.

    `least` gives, of a width and height as returned, those of which a JPEG must keep as much: it is then decoded at a
    half, a quarter or an eighth of its size where that suffices. None: as it is.

    Returns the picture, of at most 8 bits a channel, and the notice `first_frame` where there are more frames. DICOM
    files are left to `read_dicom`, and refused where there is none.
    Raises TooLarge beyond the byte or pixel limit, read from the header before decoding, and UnusableInput for what is
    no whole picture.
    """
    if not data:
        raise UnusableInput(f"the picture is empty: send the bytes of a {KINDS} file")
    if len(data) > limits.max_body_bytes:
        raise TooLarge(f"the picture has {len(data)} bytes; at most {limits.max_body_bytes} are taken")
    if header.is_dicom(data):
        if read_dicom is None:
            raise UnusableInput(f"this is a DICOM file, which this model does not take: send a {KINDS} picture")
        return read_dicom(data, limits)
    check_pixels(header.declared_size(data), limits)
    if header.is_hostile(data):
        raise _too_many_parts()
    picture = _open(data, limits, "" if read_dicom is None else " and no DICOM file, which has DICM at byte 128")
    check_pixels(picture.size, limits)
    try:
        if picture.format == "PNG":
            # Loading leaves the checksums of the pixels unread: a flipped bit would give a score, for another picture.
            _open(data, limits).verify()
        several = bool(getattr(picture, "is_animated", False))
        orientation = _orientation(picture)
        if least is not None:
            _draft(picture, least, turned=upright and orientation in SIDEWAYS)
        picture.load()
        # Pillow turns a TIFF by itself as it loads, and no other format.
        turns = (UPRIGHT if upright else {}) if picture.format != "TIFF" else ({} if upright else UNDO)
        picture = narrow(picture) if is_wide(picture) else picture
        if orientation in turns:
            picture = picture.transpose(turns[orientation])
    except Image.DecompressionBombError as error:
        raise _beyond_decoder(limits) from error
    except CostsTooMuchError:
        raise _too_many_parts() from None
    except (MemoryError, TwinserveError):
        raise
    except Exception as error:  # Pillow's decoders raise almost any type on damaged files
        raise _damaged() from error
    return picture, ("first_frame",) if several else ()


def _open(data: bytes, limits: Limits, nor: str = "") -> Image.Image:
    if not data.startswith(header.SIGNATURES):  # Pillow would take BigTIFF too, for files beyond any limit of ours
        raise UnusableInput(f"this is no {KINDS} picture{nor}")
    try:
        picture = Image.open(Bounded(data, reads=MAX_READS, passes=MAX_PASSES), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _beyond_decoder(limits) from error
    except CostsTooMuchError:
        raise _too_many_parts() from None
    except MemoryError:
        raise
    except Exception as error:  # that it is not identified as well: it begins as one of the formats
        raise _damaged() from error
    if header.has_too_many_scans(data, picture.size):
        raise _too_many_parts()
    return picture


def check_pixels(size: tuple[int, int] | None, limits: Limits) -> None:
    """Raise TooLarge for a width and height of more pixels than are taken; None is a size not known yet."""
    if size is not None and size[0] * size[1] > limits.max_pixels:
        raise TooLarge(f"the picture has {size[0]} x {size[1]} pixels; at most {limits.max_pixels} in all are taken")


def _draft(picture: Image.Image, least: Callable[[tuple[int, int]], tuple[int, int]], *, turned: bool) -> None:
    """Have a JPEG decoded from fewer of its cosine terms, at the smallest of its sizes that leaves `least`."""
    width, height = least(picture.size[::-1])[::-1] if turned else least(picture.size)
    picture.draft(None, (width, height))  # of other formats nothing comes


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none. Damaged metadata is no reason to refuse the picture."""
    try:
        value = picture.getexif().get(ORIENTATION_TAG, 1)
    except MemoryError:
        raise
    except Exception:  # as above: any type, on damaged metadata
        return 1
    return value if isinstance(value, int) else 1


def _damaged() -> UnusableInput:
    return UnusableInput("the picture is damaged or cut short: send the whole file")


def _too_many_parts() -> UnusableInput:
    return UnusableInput("the picture is split into far more parts than its size calls for: save it anew and send that")


def _beyond_decoder(limits: Limits) -> TooLarge:
    most = min(limits.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or limits.max_pixels))
    return TooLarge(f"the picture has too many pixels; at most {most} in all are taken")
