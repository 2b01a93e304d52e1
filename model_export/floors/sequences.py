"""Series and log-mel frames compared step by step, or by their mean over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import signal

from app.core.modalities.base import Window
from model_export.floors.heartbeats import unit
from model_export.floors.warping import rows_apart, warp_all
from model_export.measure import Vectors


def stretched(windows: Sequence[Window]) -> Vectors:
    """Every sequence stretched by straight lines to the longest one's steps, which changes none of equal length."""
    sequences = _sequences(windows)
    longest = max(map(len, sequences))
    return np.stack([_stretch(one, longest).ravel() for one in sequences]).astype(np.float32)


def warped(windows: Sequence[Window]) -> Vectors:
    """Rows as far apart as dynamic time warping says; see warping.py."""
    return rows_apart(warp_all(_sequences(windows)))


def mean_bands(windows: Sequence[Window]) -> Vectors:
    """The mean of each band over time, and its spread there, less their means over bands, each of length 1.

    The mean is a log spectrum; the spread is what is left of it where preparation takes the mean of each band off.
    """
    rows = []
    for sequence in _sequences(windows):
        frames = sequence if sequence.shape[1] > 1 else _log_spectra(sequence[:, 0])
        parts = [_direction(frames.mean(axis=0)), _direction(frames.std(axis=0))]
        rows.append(np.concatenate(parts) if np.any(parts) else np.ones(2 * frames.shape[1]))
    return np.stack(rows).astype(np.float32)


def _log_spectra(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log power of the samples themselves, frame by frame: float32 (frames, 129)."""
    _, _, spectra = signal.stft(samples, nperseg=min(256, len(samples)))
    levels: npt.NDArray[np.float32] = np.log(np.abs(spectra.T) ** 2 + 1e-9).astype(np.float32)
    return levels


def _direction(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of length 1; zeros where all values are the same to within rounding."""
    if np.ptp(values) < 1e-4:
        return np.zeros(len(values))
    return unit(values)


def _stretch(sequence: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float64]:
    places = np.linspace(0, len(sequence) - 1, steps)
    return np.stack([np.interp(places, np.arange(len(sequence)), channel) for channel in sequence.T], axis=1)


def _sequences(windows: Sequence[Window]) -> list[npt.NDArray[np.float32]]:
    """The real steps of each window, float32 (steps, channels); the samples of a sound are one channel."""
    (name,) = set(windows[0]) - {"mask"}
    steps = (window[name][window["mask"] > 0] for window in windows)
    return [one.reshape(len(one), -1) for one in steps]
