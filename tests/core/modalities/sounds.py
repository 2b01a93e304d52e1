"""Sounds made for the tests of the audio modality, and the shortest way to prepare one."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from app.core.modalities.audio import AudioModality, create
from app.core.modalities.base import Limits, Prepared

RATE = 16000
LOG_MEL: dict[str, Any] = {
    "kind": "log_mel",
    "n_fft": 512,
    "win_length": 400,
    "hop_length": 160,
    "n_mels": 40,
    "fmin": 20.0,
    "fmax": 7600.0,
    "floor": 1e-10,
    "mel_scale": "htk",
    "normalise": "none",
}
PARAMS: dict[str, Any] = {
    "rate": RATE,
    "mixdown": "mean",
    "resampler": "soxr_hq",
    "trim": "off",
    "min_seconds": 0.1,
    "max_seconds": 2.0,
    "long": {"policy": "refuse"},
    "ladder_seconds": [0.5, 1.0, 2.0],
    "silence_db": -60.0,
    "clipping_share": 0.01,
    "features": LOG_MEL,
}
WAVEFORM: dict[str, Any] = {"features": {"kind": "waveform"}}
WINDOWS: dict[str, Any] = {"long": {"policy": "window", "window_seconds": 1.0, "hop_seconds": 0.5}}

Samples = npt.NDArray[np.float64]


def modality(**params: Any) -> AudioModality:
    return create(PARAMS | params, {})


def prepared(
    data: bytes, limits: Limits | None = None, *, item: dict[str, Any] | None = None, **params: Any
) -> Prepared:
    return modality(**params).prepare({"bytes": data} | (item or {}), limits or Limits())


def waveform(data: bytes, **params: Any) -> npt.NDArray[np.float32]:
    (window,) = prepared(data, **(WAVEFORM | params)).windows
    return np.asarray(window["waveform"])


def features(data: bytes, **params: Any) -> npt.NDArray[np.float32]:
    (window,) = prepared(data, **params).windows
    return np.asarray(window["features"])


def sine(hertz: float = 440.0, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> Samples:
    return np.asarray(level * np.sin(2.0 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def speechlike(seconds: float = 1.0, rate: int = RATE, seed: int = 0) -> Samples:
    """A voiced tone of several harmonics that comes and goes, in a little noise: no two frames alike."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(0.0, 0.01, len(time))
    return np.asarray(0.1 * tone * (1.2 + np.sin(2 * np.pi * 4 * time)) + noise)


def encoded(samples: Samples, form: str = "WAV", subtype: str | None = None, rate: int = RATE, **options: Any) -> bytes:
    """A file of samples (n,) or (n, channels)."""
    buffer = BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype, **options)
    return buffer.getvalue()


def wav_header(frames: int, rate: int = RATE, channels: int = 1, body: bytes = b"\x10\x00" * 1000) -> bytes:
    """A 16-bit WAV that declares so many frames, whatever its body holds."""
    size = frames * channels * 2 & 0xFFFFFFFF
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + body
    return b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFFFFFF) + b"WAVE" + chunks


def flac_declaring(data: bytes, frames: int) -> bytes:
    """A FLAC file whose STREAMINFO is made to declare so many samples; 0 means unknown."""
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | frames
    return data[:18] + packed.to_bytes(8, "big") + data[26:]


def ogg_declaring(data: bytes, frames: int) -> bytes:
    """An Ogg file whose last page is made to end at another sample, its checksum set right (RFC 3533)."""
    at = data.rfind(b"OggS")
    page = bytearray(data[at:])
    page[6:14], page[22:26] = struct.pack("<q", frames), bytes(4)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    page[22:26] = struct.pack("<I", checksum)
    return data[:at] + bytes(page)


def without_xing(mp3: bytes) -> bytes:
    """An MP3 file without its first frame, which holds the Xing header and no sound."""
    return mp3[mp3.index(mp3[:2], 4) :]


STEREO = np.stack([speechlike(), speechlike(seed=1)], axis=1)
CONSTANT: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.3}
FILES = {
    "wav": encoded(STEREO),
    "24-bit wav": encoded(STEREO, subtype="PCM_24"),
    "float wav": encoded(STEREO, subtype="FLOAT"),
    "wavex": encoded(STEREO, "WAVEX"),
    "mu-law wav": encoded(STEREO, subtype="ULAW"),
    "flac": encoded(STEREO, "FLAC"),
    "flac of unknown length": flac_declaring(encoded(STEREO, "FLAC"), 0),
    "vorbis": encoded(STEREO, "OGG", "VORBIS"),
    "opus": encoded(STEREO, "OGG", "OPUS"),
    "mp3": encoded(STEREO, "MP3"),
    "mp3 of constant bit rate": encoded(STEREO, "MP3", **CONSTANT),
    "44.1 kHz mp3": encoded(speechlike(rate=44100), "MP3", rate=44100),
}
