"""Sounds made for the project: vowel-like tones in several containers, rates, widths and channels."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
import soundfile

from app.core.modalities.base import Item
from model_export.probes.traces import without_traces

FORMANTS = ((730.0, 1090.0), (270.0, 2290.0), (300.0, 870.0), (530.0, 1840.0))
"""First and second formants of four vowels, in Hz (Peterson & Barney 1952, men)."""

FILES: tuple[tuple[int, int, str, str], ...] = (
    (8000, 1, "WAV", "PCM_16"),
    (16000, 1, "WAV", "PCM_24"),
    (44100, 2, "WAV", "FLOAT"),
    (48000, 2, "FLAC", "PCM_16"),
    (22050, 1, "OGG", "VORBIS"),
    (11025, 1, "WAV", "ULAW"),
    (8000, 2, "FLAC", "PCM_24"),
    (44100, 1, "MP3", "MPEG_LAYER_III"),
)
"""Rate in Hz, channels, container and subtype, as libsndfile names them."""


def probe_items(shortest: float, longest: float) -> list[Item]:
    """One sound a file kind, of lengths between the two, in seconds."""
    lengths = np.geomspace(max(shortest * 1.5, 0.05), longest * 0.9, len(FILES))
    items = [
        {"bytes": _encode(utter(seed, seconds, rate), rate, channels, container, subtype)}
        for seed, (seconds, (rate, channels, container, subtype)) in enumerate(zip(lengths, FILES, strict=True))
    ]
    # Ends that fade away: how much of them is cut, and what counts as nothing, shows in the embedding.
    faded = [_encode(fade(seed, longest * 0.6, 8000), 8000, 1, "WAV", "FLOAT") for seed in (20, 21)]
    return [*items, *({"bytes": data} for data in faded)]


def fade(seed: int, seconds: float, rate: int) -> npt.NDArray[np.float64]:
    """A sound in whose first and last third a tone rises from, and falls to, 80 dB below full scale."""
    whole = utter(seed, seconds, rate)
    place = np.linspace(0, 1, len(whole))
    level = -80 * np.clip(np.maximum(1 - 3 * place, 3 * place - 2), 0, 1)
    hertz = np.linspace(300, 2500, len(whole)) * (1 + seed % 2)
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / rate)
    return np.asarray((whole + tone) * 10 ** (level / 20))


def utter(seed: int, seconds: float, rate: int) -> npt.NDArray[np.float64]:
    """A few vowels on a gliding voice, full scale at 1: float64 (samples,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(1, 3) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = rng.normal(0, 0.002, len(time))
    pieces = np.minimum((time / seconds * 3).astype(int), 2)
    for piece, vowel in enumerate(rng.permutation(len(FORMANTS))[:3]):
        inside = pieces == piece
        for harmonic in range(1, 30):
            hertz = harmonic * float(pitch.mean())
            if hertz < 0.45 * rate:
                loud = sum(1 / (1 + ((hertz - formant) / 80) ** 2) for formant in FORMANTS[vowel])
                sound += inside * 0.2 * loud * np.sin(harmonic * phase)
    return np.asarray(sound * np.sin(np.pi * time / seconds) ** 0.5)


def _encode(sound: npt.NDArray[np.float64], rate: int, channels: int, container: str, subtype: str) -> bytes:
    other = np.roll(sound, rate // 200) * 0.5  # the second channel is later and quieter, so that a mix shows
    frames = sound if channels == 1 else np.stack([sound, other], axis=1)
    file = BytesIO()
    soundfile.write(file, frames, rate, format=container, subtype=subtype)
    return without_traces(file.getvalue())
