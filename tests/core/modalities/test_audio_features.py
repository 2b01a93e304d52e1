"""Log-mel features against the formula written another way, and against figures from elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.core.modalities.audio.features import log_mel, mel_filters
from app.core.modalities.audio.params import LogMel
from tests.core.modalities.sounds import LOG_MEL, RATE, sine, speechlike


def by_hand(samples: list[float], rate: int, spec: LogMel) -> list[list[float]]:
    """The formula of `log_mel` in plain Python: a naive transform, each filter's triangle drawn point by point."""

    def mel(hertz: float) -> float:
        if spec.mel_scale == "htk":
            return 1127.0 * math.log1p(hertz / 700.0)
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    def hertz(value: float) -> float:
        if spec.mel_scale == "htk":
            return 700.0 * math.expm1(value / 1127.0)
        return value * 200 / 3 if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    low, high = mel(spec.fmin), mel(spec.fmax)
    edges = [hertz(low + (high - low) * k / (spec.n_mels + 1)) for k in range(spec.n_mels + 2)]
    rows = []
    for start in range(0, len(samples) - spec.win_length + 1, spec.hop_length):
        piece = [
            samples[start + j] * math.sin(math.pi * j / spec.win_length) ** 2  # Hann, by another identity
            for j in range(spec.win_length)
        ]
        bands = [0.0] * spec.n_mels
        for k in range(spec.n_fft // 2 + 1):
            angle = -2 * math.pi * k / spec.n_fft
            real = math.fsum(x * math.cos(angle * j) for j, x in enumerate(piece))
            imaginary = math.fsum(x * math.sin(angle * j) for j, x in enumerate(piece))
            at = k * rate / spec.n_fft
            for band in range(spec.n_mels):
                left, peak, right = edges[band : band + 3]
                height = 1.0 if spec.mel_scale == "htk" else 2 / (right - left)
                if left < at <= peak:
                    bands[band] += height * (at - left) / (peak - left) * (real**2 + imaginary**2)
                elif peak < at < right:
                    bands[band] += height * (right - at) / (right - peak) * (real**2 + imaginary**2)
        rows.append([math.log(max(band, spec.floor)) for band in bands])
    return rows


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("normalise", ["none", "per_item_mean"])
def test_features_are_those_of_the_formula(scale: str, normalise: str) -> None:
    spec = LogMel.model_validate(
        LOG_MEL
        | {"n_fft": 128, "win_length": 100, "hop_length": 60, "n_mels": 12, "fmin": 100.0, "fmax": 3900.0}
        | {"mel_scale": scale, "normalise": normalise}
    )
    samples = speechlike(0.04, 8000).astype(np.float32)
    expected = np.array(by_hand([float(x) for x in samples], 8000, spec))
    assert expected.shape == (4, 12)
    if normalise == "per_item_mean":
        expected = expected - expected.mean(axis=0)
    got = log_mel(samples, spec, mel_filters(8000, spec))
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < 1e-5


def spec_of(**changes: Any) -> LogMel:
    return LogMel.model_validate(LOG_MEL | changes)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("hertz", [200.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_the_band_around_it(scale: str, hertz: float) -> None:
    spec = spec_of(mel_scale=scale)
    levels = log_mel(sine(hertz).astype(np.float32), spec, mel_filters(RATE, spec)).mean(axis=0)
    filters = mel_filters(RATE, spec)
    around = filters[:, round(hertz * spec.n_fft / RATE)] > 0
    assert around[int(np.argmax(levels))]


def test_twice_the_amplitude_adds_the_logarithm_of_four() -> None:
    spec, filters = spec_of(), mel_filters(RATE, spec_of())
    sound = speechlike().astype(np.float32)
    steps = np.subtract(log_mel(2 * sound, spec, filters), log_mel(sound, spec, filters))
    assert np.abs(steps - math.log(4.0)).max() < 1e-5


def test_mean_of_the_item_removes_level_and_microphone() -> None:
    spec = spec_of(normalise="per_item_mean")
    filters = mel_filters(RATE, spec)
    sound = speechlike().astype(np.float32)
    quiet = (sound / 8).astype(np.float32)
    assert np.abs(np.subtract(log_mel(sound, spec, filters), log_mel(quiet, spec, filters))).max() < 1e-5


def test_silence_counts_as_the_floor() -> None:
    spec = spec_of(floor=1e-6)
    assert np.all(log_mel(np.zeros(1600, np.float32), spec, mel_filters(RATE, spec)) == np.float32(math.log(1e-6)))


def test_a_prefix_has_the_features_of_the_whole_up_to_its_end() -> None:
    """More than one chunk of frames: where a chunk ends must not be seen in the features."""
    spec, filters = spec_of(), mel_filters(RATE, spec_of())
    sound = speechlike(25.0).astype(np.float32)
    whole = log_mel(sound, spec, filters)
    assert len(whole) == 2498
    part = log_mel(sound[160 * 700 :], spec, filters)
    assert np.abs(whole[700:] - part).max() < 1e-5
