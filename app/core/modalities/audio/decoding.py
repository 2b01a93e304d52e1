"""From the bytes of a sound file to mono samples at the declared rate: limits first, then libsndfile, block by block.

WAV, FLAC, Ogg (Vorbis and Opus) and MP3; content decides the decoder, never a declared type.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_SET, BytesIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from app.core.errors import TooLarge, TwinserveError, UnusableInput
from app.core.modalities.audio import containers, mp3
from app.core.modalities.base import Limits

FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")
# The largest value a sample of this kind can take; what is not listed has 16 bits or more, or is lossy.
FULL_SCALE = {"PCM_U8": 127 / 128, "PCM_S8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}
FULL_SCALE_16 = 32767 / 32768
SUBTYPES = (*FULL_SCALE, "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III")
LOUDEST = 16.0
"""Floating-point and lossy samples may pass full scale somewhat; beyond this they are of another scale altogether."""

MIN_RATE, MAX_RATE, MAX_CHANNELS = 4000, 384_000, 8
SAMPLES_PER_SECOND = 192_000
"""For each second of the limit, over all channels: stereo at 96 kHz. Eight channels at 384 kHz would be a bomb."""
BLOCK = 65536
MP3_SLACK = 4096
"""Samples a channel that MP3 encoders put before and after a sound, at most; decoders take them away again."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono float32 (n,) at the declared rate, full scale 1; share of the file's samples at full scale; resampled."""

    samples: npt.NDArray[np.float32]
    clipped: float
    resampled: bool


class _Bytes(BytesIO):
    """Bytes for libsndfile, whose damaged offsets may lead before the start: an exception there would be printed."""

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        if whence == SEEK_SET or (whence == SEEK_CUR and self.tell() + offset < 0):
            return super().seek(max(0, offset))
        return super().seek(offset, whence)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # an untyped class
    """A file read from front to back. Else soundfile seeks after each block, which MP3 decoders do not survive."""

    def seekable(self) -> bool:
        return False


def decode(data: bytes, limits: Limits, *, rate: int, most_seconds: float) -> Sound:
    """Decode to mono at `rate` Hz.

    Raises TooLarge beyond the byte limit, `most_seconds` or the samples that the limit in seconds stands for: read from
    the header before anything is decoded, and watched while decoding, since headers can lie. Raises UnusableInput for
    what is no whole sound of a known format, of a rate or number of channels out of all bounds, or with samples that
    are not finite.
    """
    if not data:
        raise UnusableInput("the sound is empty: send the bytes of a WAV, FLAC, Ogg or MP3 file")
    if len(data) > limits.max_body_bytes:
        raise TooLarge(f"the sound has {len(data)} bytes; at most {limits.max_body_bytes} are taken")
    walked = _check_container(data, most_seconds)
    if walked is not None:
        # Frames only: libmpg123 reads tags for nothing, and writes a line to stderr for each that it cannot read.
        data = data[walked.start : walked.end]
    try:
        with _Forward(_Bytes(data)) as file:
            _check_format(file)
            # The most frames that either bound allows; 2.3 * 8000 is a little less than 18400.
            most = min(most_seconds * file.samplerate, limits.max_seconds * SAMPLES_PER_SECOND / file.channels)
            most = math.floor(most + 1e-6)
            _check_length(file, walked, most)
            return _read(file, rate, most, exact=walked is None or walked.counted)
    except (MemoryError, TwinserveError):
        raise
    except Exception as error:  # soundfile raises several types on damaged files
        raise containers.damaged() from error


def _check_container(data: bytes, most_seconds: float) -> mp3.Walk | None:
    """What the file says of its length, judged; the walk of an MP3, None for others."""
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        wav = containers.read_wav(data)
        if wav.seconds > most_seconds:
            raise _too_long(most_seconds)
        if wav.claimed_bytes > wav.held_bytes:
            raise containers.damaged()
    elif data.startswith(b"OggS"):
        containers.check_ogg(data)
    elif not data.startswith(b"fLaC"):
        most_walked = most_seconds + MP3_SLACK / MIN_RATE
        walked = mp3.walk(data, most_walked)
        if walked is None:
            raise UnusableInput("this is no WAV, FLAC, Ogg or MP3 sound")
        if walked.seconds > most_walked:
            raise _too_long(most_seconds)
        if walked.cut:
            raise containers.damaged()
        return walked
    return None


def _check_format(file: soundfile.SoundFile) -> None:
    if file.format not in FORMATS or file.subtype not in SUBTYPES:
        raise UnusableInput("the sound is coded in a way that is not taken: save it as WAV (PCM), FLAC, Ogg or MP3")
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise UnusableInput(f"the sound has {file.channels} channels: send one of 1 to {MAX_CHANNELS}")
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        raise UnusableInput(f"the sound has {file.samplerate} samples a second: send {MIN_RATE} to {MAX_RATE}")


def _check_length(file: soundfile.SoundFile, walked: mp3.Walk | None, most: int) -> None:
    if walked is not None and file.frames < walked.seconds * file.samplerate - MP3_SLACK:
        raise UnusableInput("the MP3 file misstates its length, so part of it would go unheard: save it anew")
    if _is_length_known(file) and file.frames > most:
        raise _too_long(most / file.samplerate)


def _is_length_known(file: soundfile.SoundFile) -> bool:
    """A FLAC file written to a pipe declares no length, for which libsndfile puts its largest number."""
    return int(file.frames) != np.iinfo(np.int64).max


def _read(file: soundfile.SoundFile, rate: int, most: int, *, exact: bool) -> Sound:
    """Read to the end, `most` frames at most. `exact`: fewer than the file declares mean that part of it is missing."""
    full_scale = FULL_SCALE.get(file.subtype, FULL_SCALE_16)
    resampler = None
    if file.samplerate != rate:
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float64", quality="HQ")
    pieces, frames, clipped = [], 0, 0
    for block in _blocks(file):
        frames += len(block)
        if frames > most:
            raise _too_long(most / file.samplerate)
        loudest = np.abs(block)
        if not loudest.max() <= LOUDEST:  # so written that NaN fails too
            raise UnusableInput("the sound holds samples that are not finite or far beyond full scale: save it anew")
        clipped += int(np.count_nonzero(loudest >= full_scale))
        mono = block.mean(axis=1)
        pieces.append((resampler.resample_chunk(mono) if resampler else mono).astype(np.float32))
    if frames == 0:
        raise UnusableInput("the sound file holds no samples: send one in which something is heard")
    if exact and _is_length_known(file) and frames < file.frames:
        raise containers.damaged()
    if resampler:
        pieces.append(resampler.resample_chunk(np.empty(0), last=True).astype(np.float32))
    return Sound(np.concatenate(pieces), clipped / (frames * file.channels), resampler is not None)


def _blocks(file: soundfile.SoundFile) -> Iterator[Doubles]:
    """The file's samples in pieces: float64 (at most BLOCK, channels). float64 holds every kind of sample exactly."""
    while len(block := file.read(BLOCK, dtype="float64", always_2d=True)):
        yield block


def _too_long(most_seconds: float) -> TooLarge:
    return TooLarge(
        f"the sound is too long: at most {most_seconds:g} seconds of its rate and channels are taken; send a part of it"
    )
