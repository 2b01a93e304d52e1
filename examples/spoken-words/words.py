"""Invented words on invented voices, as WAV. Nobody spoke them: numpy adds up tones."""

from __future__ import annotations

import wave
from io import BytesIO

import numpy as np
import numpy.typing as npt

FORMANTS = {"a": (730.0, 1090.0), "i": (270.0, 2290.0), "u": (300.0, 870.0), "e": (530.0, 1840.0)}
"""First and second formants of four vowels, in Hz (Peterson & Barney 1952, men)."""


def say(word: str, voice: int, rate: int = 8000) -> bytes:
    """Vowels one after another, such as "iau", as a mono WAV of 16 bits.

    The voice is a number; it decides pitch, length of the throat and pace.
    """
    rng = np.random.default_rng([71, voice])
    pitch, throat, pace = rng.uniform(90, 220), rng.uniform(0.92, 1.15), rng.uniform(0.16, 0.24)
    seconds = pace * len(word)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1.05 - 0.1 * time / seconds)) / rate
    # Formants glide from vowel to vowel, as a mouth does.
    middles = (np.arange(len(word)) + 0.5) * pace
    first, second = (np.interp(time, middles, [FORMANTS[vowel][k] * throat for vowel in word]) for k in (0, 1))
    sound = np.zeros(len(time))
    for harmonic in range(1, int(0.45 * rate / pitch)):
        hertz = harmonic * pitch
        loud = sum(1 / (1 + ((hertz - formant) / 80) ** 2) for formant in (first, second))
        sound += loud * np.sin(harmonic * phase)
    return encode(0.5 * sound / np.abs(sound).max() * np.sin(np.pi * time / seconds) ** 0.3, rate)


def silence(rate: int = 8000) -> bytes:
    """Half a second of nothing."""
    return encode(np.zeros(rate // 2), rate)


def encode(sound: npt.NDArray[np.float64], rate: int) -> bytes:
    """A sound, full scale at 1, as a mono WAV of 16 bits."""
    file = BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
    return file.getvalue()
