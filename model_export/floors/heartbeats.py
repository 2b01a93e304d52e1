"""The plain ways to compare electrocardiograms: by the averaged beat, and by the spectrum. One channel, no learning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Real = npt.NDArray[np.float64]

BEAT_BAND, PEAK_BAND = (1.0, 40.0), (8.0, 25.0)
"""Hz that are kept of a beat, and those in which its peak stands out."""
BEFORE, AFTER, APART = 0.25, 0.4, 0.4
"""Seconds of a beat on both sides of its peak, and the least from one peak to the next."""
BEAT_STEPS = 130
SPECTRUM_HZ = np.arange(1.0, 40.25, 0.25)


def mean_beat(signal: Real, rate: float) -> Real:
    """The median over beats, float64 (130,), mean 0, length 1: two of them correlate by their product.

    A beat's peak is the largest absolute value of the signal within 8 to 25 Hz, above half of its 98 % quantile. Raises
    ValueError for a signal shorter than a beat.
    """
    kept, sharp = _band(signal, rate, *BEAT_BAND), np.abs(_band(signal, rate, *PEAK_BAND))
    before, after = round(BEFORE * rate), round(AFTER * rate)
    inside = np.arange(before, len(signal) - after)
    if not len(inside):
        raise ValueError(f"a recording is shorter than a beat, {BEFORE + AFTER} seconds")
    level = 0.5 * np.quantile(sharp, 0.98)
    peaks: list[int] = []
    for place in inside[np.argsort(-sharp[inside], kind="stable")]:
        if sharp[place] < level:
            break
        if all(abs(place - other) >= APART * rate for other in peaks):
            peaks.append(int(place))
    beats = np.stack([kept[peak - before : peak + after] for peak in peaks])
    beat = np.median(beats, axis=0)
    steps = np.linspace(0, len(beat) - 1, BEAT_STEPS)
    return unit(np.interp(steps, np.arange(len(beat)), beat))


def log_spectrum(signal: Real, rate: float) -> Real:
    """Logarithm of the power from 1 to 40 Hz in steps of 0.25, mean 0, length 1: float64 (157,)."""
    power = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
    hertz = np.fft.rfftfreq(len(signal), 1 / rate)
    edges = np.append(SPECTRUM_HZ - 0.125, SPECTRUM_HZ[-1] + 0.125)
    total, _ = np.histogram(hertz, edges, weights=power)
    return unit(np.log(total + 1e-9 * total.sum()))


def unit(values: npt.ArrayLike) -> Real:
    """Mean taken off, then length 1, so that a product is a correlation."""
    levelled = np.asarray(values, np.float64)
    levelled = levelled - levelled.mean()
    scaled: Real = levelled / np.linalg.norm(levelled)
    return scaled


def _band(signal: Real, rate: float, low: float, high: float) -> Real:
    spectrum = np.fft.rfft(signal - signal.mean())
    hertz = np.fft.rfftfreq(len(signal), 1 / rate)
    spectrum[(hertz < low) | (hertz > high)] = 0
    return np.fft.irfft(spectrum, len(signal))
