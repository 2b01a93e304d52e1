"""How much sound an MP3 file holds, by walking its frames (ISO/IEC 11172-3 and 13818-3, layer III). Nothing decoded.

libsndfile reads as much as it expects from a Xing header, or else from the first frame's bit rate: it takes the rest
of a cut file for the whole, and of a file of variable bit rate without such a header it may read only a part.
"""

from __future__ import annotations

from dataclasses import dataclass

KBITS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)
SEARCH_BYTES = 65536
"""How far from the end of an ID3 tag the first frame may lie; some programs leave zeros between."""

MAX_TAGS = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's header: `length` in bytes, `samples` a channel, `rate` in Hz."""

    length: int
    samples: int
    rate: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What was found: the seconds of whole frames, whether the file ends inside a frame or before the last one that
    its Xing header counts, whether it has such a header, and the place [start, end) of all frames walked.
    """

    seconds: float
    cut: bool
    counted: bool
    start: int
    end: int


def walk(data: bytes, most_seconds: float) -> Walk | None:
    """Walk the frames up to the first that goes past `most_seconds`; None if there is none.

    What follows the last frame and is no frame (ID3v1, APE and Lyrics3 tags, zeros) is passed over.
    """
    start = _first_frame(data)
    if start is None:
        return None
    at = start
    count, seconds, frames = _xing_count(data, at), 0.0, 0
    if count is not None:
        at += _frame(data, at).length  # type: ignore[union-attr]  # it was found as a frame
    while (frame := _frame(data, at)) is not None:
        if at + frame.length > len(data):
            return Walk(seconds, True, count is not None, start, at)
        at, frames, seconds = at + frame.length, frames + 1, seconds + frame.samples / frame.rate
        if seconds > most_seconds:
            return Walk(seconds, False, count is not None, start, at)
    # Some encoders count the frame of the Xing header too.
    return Walk(seconds, count is not None and frames < count - 1, count is not None, start, at)


def _frame(data: bytes, at: int) -> Frame | None:
    """The frame header at a place, None where there is none, or one of free format."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bits, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer != 1 or bits in (0, 15) or rate == 3:
        return None
    half = version != 3  # MPEG-2 and 2.5 have half the samples a frame
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 576 if half else 1152
    length = samples // 8 * KBITS[2 if half else 1][bits] * 1000 // hertz + (data[at + 2] >> 1 & 1)
    return Frame(length, samples, hertz)


def _first_frame(data: bytes) -> int | None:
    """The place of the first frame that another follows, or that ends the file."""
    at = 0
    for _ in range(MAX_TAGS):
        if data[at : at + 3] != b"ID3" or at + 10 > len(data):
            break
        a, b, c, d = data[at + 6 : at + 10]
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[at + 5] & 0x10 else 0)
    last = min(len(data), at + SEARCH_BYTES)
    while (at := data.find(b"\xff", at, last)) >= 0:
        frame = _frame(data, at)
        if frame is not None and (at + frame.length >= len(data) or _frame(data, at + frame.length) is not None):
            return at
        at += 1
    return None


def _xing_count(data: bytes, at: int) -> int | None:
    """The number of frames that a Xing or Info header in the first frame states, None without one."""
    one_channel, mpeg_1 = data[at + 3] >> 6 == 3, data[at + 1] >> 3 & 3 == 3
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[mpeg_1, one_channel]
    tag = data[at + 4 + side : at + 4 + side + 12]
    if len(tag) < 12 or tag[:4] not in (b"Xing", b"Info") or not tag[7] & 1:
        return None
    return int.from_bytes(tag[8:12], "big")
