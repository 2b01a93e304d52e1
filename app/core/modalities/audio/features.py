"""Log-mel features, in one function for training, the parity gate and serving. No files, no errors of a caller."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.errors import BundleRefused
from app.core.modalities.audio.params import LogMel

CHUNK = 1024
"""Frames transformed at once, so that a long recording costs little memory beyond its features."""

# Slaney's scale (Auditory Toolbox, 1998): 3 mel every 200 Hz up to 1 kHz, then 27 mel for each factor of 6.4.
SLANEY_HZ, SLANEY_KNEE_HZ, SLANEY_STEP = 200.0 / 3.0, 1000.0, np.log(6.4) / 27.0

Doubles = npt.NDArray[np.float64]


def log_mel(samples: npt.NDArray[np.float32], spec: LogMel, filters: Doubles) -> npt.NDArray[np.float32]:
    """Log-mel features: float32 (frames, n_mels), from float32 (n,), n >= win_length; float64 inside.

    Frame t covers samples t * hop_length to t * hop_length + win_length - 1, only frames that fit wholly, so that no
    padding is ever heard:

        w[j] = 0.5 - 0.5 cos(2 pi j / win_length)
        P[t, k] = |sum_j w[j] x[t * hop_length + j] exp(-2 pi i j k / n_fft)|^2
        y[t, m] = ln max(floor, sum_k filters[m, k] P[t, k])

    and with `per_item_mean` y[t, m] less its mean over t. As in Davis and Mermelstein (1980), before their cosine
    transform. `filters` are those of `mel_filters`.
    """
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(spec.win_length) / spec.win_length)
    framed = np.lib.stride_tricks.sliding_window_view(samples, spec.win_length)[:: spec.hop_length]
    levels = np.empty((len(framed), spec.n_mels))
    for start in range(0, len(framed), CHUNK):
        spectrum = np.fft.rfft(framed[start : start + CHUNK] * window, n=spec.n_fft, axis=1)
        energy = (spectrum.real**2 + spectrum.imag**2) @ filters.T
        levels[start : start + CHUNK] = np.log(np.maximum(energy, spec.floor))
    if spec.normalise == "per_item_mean":
        levels -= levels.mean(axis=0)
    return levels.astype(np.float32)


def mel_filters(rate: int, spec: LogMel) -> Doubles:
    """Triangular mel filters: float64 (n_mels, n_fft // 2 + 1), applied to power spectra of `rate` Hz.

    n_mels + 2 edges lie evenly on the mel scale from fmin to fmax; filter m rises linearly in Hz from edge m to 1 at
    edge m + 1 and falls to edge m + 2. htk: mel = 2595 log10(1 + f / 700) (The HTK Book, section 5.4). slaney: the
    scale of his Auditory Toolbox, each filter times 2 / (its width in Hz). Both are what librosa.filters.mel gives for
    htk=True, norm=None and for htk=False, norm="slaney".

    Raises BundleRefused for bands so narrow that a filter holds no frequency of the transform.
    """
    low, high = (_to_mel(hertz, spec.mel_scale) for hertz in (spec.fmin, spec.fmax))
    edges = _to_hertz(np.linspace(low, high, spec.n_mels + 2), spec.mel_scale)
    lengths = np.diff(edges)
    bins = np.arange(spec.n_fft // 2 + 1) * (rate / spec.n_fft)
    rising = (bins - edges[:-2, np.newaxis]) / lengths[:-1, np.newaxis]
    falling = (edges[2:, np.newaxis] - bins) / lengths[1:, np.newaxis]
    filters: Doubles = np.maximum(0.0, np.minimum(rising, falling))
    if spec.mel_scale == "slaney":
        filters *= (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    if not (empty := filters.any(axis=1)).all():
        band = int(np.argmin(empty))
        raise BundleRefused(f"modality.params.features.n_mels: band {band} holds no bin; use fewer, or a longer n_fft")
    return filters


def _to_mel(hertz: float, scale: str) -> float:
    if scale == "htk":
        return float(2595.0 * np.log10(1.0 + hertz / 700.0))
    if hertz < SLANEY_KNEE_HZ:
        return hertz / SLANEY_HZ
    return float(SLANEY_KNEE_HZ / SLANEY_HZ + np.log(hertz / SLANEY_KNEE_HZ) / SLANEY_STEP)


def _to_hertz(mel: Doubles, scale: str) -> Doubles:
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    knee = SLANEY_KNEE_HZ / SLANEY_HZ
    return np.where(mel < knee, mel * SLANEY_HZ, SLANEY_KNEE_HZ * np.exp(SLANEY_STEP * (mel - knee)))
