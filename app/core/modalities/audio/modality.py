"""The audio modality: the steps from decoded samples to the windows that the graph takes, and their padding."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.errors import InvalidRequest, TooLarge, UnusableInput
from app.core.modalities.audio.decoding import decode
from app.core.modalities.audio.features import log_mel, mel_filters
from app.core.modalities.audio.params import LogMel, Params, Windows, read_params
from app.core.modalities.base import Array, Item, Limits, Prepared, Window

MASK = "mask"
TRIM_SECONDS = 0.02

Samples = npt.NDArray[np.float32]


def create(params: Mapping[str, Any], assets: Mapping[str, bytes]) -> AudioModality:
    """Make the audio modality for a bundle. Raises BundleRefused for params that it does not accept."""
    del assets  # sound needs none
    return AudioModality(read_params(params))


class AudioModality:
    """Modality for sound; see base.Modality.

    Windows are {"features": float32 (frames, n_mels), "mask": float32 (frames,)}, or {"waveform": float32 (samples,),
    "mask": float32 (samples,)}. The mask is 1 on sound; `collate` pads both with 0 to a length of the ladder.
    """

    form = "base64"
    media_types = ("audio/", "application/ogg")

    def __init__(self, params: Params) -> None:
        self.params = params
        self.input = "features" if isinstance(params.features, LogMel) else "waveform"
        self._filters = mel_filters(params.rate, params.features) if isinstance(params.features, LogMel) else None
        self._ladder = tuple(params.steps(params.samples(seconds)) for seconds in params.ladder_seconds)

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Decode and prepare one sound; `{"truncate": true}` in the item cuts it to max_seconds.

        Raises InvalidRequest for a member it does not know or of a wrong type, TooLarge beyond the byte limit, the
        limit in seconds or max_seconds where it is neither cut nor windowed, UnusableInput for what is no whole sound,
        silent, clipped or shorter than min_seconds.
        """
        data, truncate = _read_item(item)
        params = self.params
        windowed = isinstance(params.long, Windows)
        most = limits.max_seconds
        if not (truncate or windowed or params.trim != "off"):
            most = min(most, params.max_seconds)  # nothing could make it fit, so nothing more need be decoded
        sound = decode(data, limits, rate=params.rate, most_seconds=most)
        if sound.clipped > params.clipping_share:
            raise UnusableInput("the sound is clipped: record it at a lower level")
        samples = sound.samples if params.trim == "off" else _trimmed(sound.samples, params.rate, params.trim)
        notices = ["resampled"] if sound.resampled else []
        if len(samples) < params.samples(params.min_seconds):
            raise UnusableInput(f"the sound is too short: send at least {params.min_seconds:g} seconds")
        # Cut before it is judged: what the graph will not hear cannot make up for silence.
        longest = params.samples(params.max_seconds)
        if len(samples) > longest and truncate:
            samples, notices = samples[:longest], [*notices, "truncated"]
        # About the mean, since an offset is no sound.
        if float(np.std(samples, dtype=np.float64)) < 10.0 ** (params.silence_db / 20.0):
            raise UnusableInput("the sound is silent: send one in which something is heard")
        if len(samples) <= longest:
            return Prepared((self._window(self._features(samples)),), tuple(notices))
        if not isinstance(params.long, Windows):
            raise TooLarge(
                f"the sound is too long: at most {params.max_seconds:g} seconds are taken; send a part of it, or "
                "truncate: true to have only its beginning judged"
            )
        return Prepared(self._cut(self._features(samples), params.long), (*notices, "windowed"))

    def _features(self, samples: Samples) -> Samples:
        spec = self.params.features
        if not isinstance(spec, LogMel) or self._filters is None:
            return samples
        return log_mel(samples, spec, self._filters)

    def _cut(self, features: Samples, long: Windows) -> tuple[Window, ...]:
        """Windows of equal length; the last one ends where the sound ends, so that none is padded and all is heard."""
        params = self.params
        length = params.steps(params.samples(long.window_seconds))
        step = params.features.hop_length if isinstance(params.features, LogMel) else 1
        hop = max(1, round(params.samples(long.hop_seconds) / step))
        starts = [*range(0, len(features) - length, hop), len(features) - length]
        return tuple(self._window(features[start : start + length]) for start in starts)

    def _window(self, features: Samples) -> Window:
        return {self.input: features, MASK: np.ones(len(features), dtype=np.float32)}

    def narrow(self, limits: Limits) -> Limits:
        """Seconds, once trimmed: what the graph takes at once, where longer sounds are refused."""
        if isinstance(self.params.long, Windows):
            return limits
        return replace(limits, max_seconds=min(limits.max_seconds, self.params.max_seconds))

    def summarize(self, window: Window) -> npt.NDArray[np.float32]:
        """How much a window moves, never how loud it is: float32 (5,).

        log_mel: the spread over time of the low, middle and high third of the bands, and the mean steps from frame to
        frame and from band to band, all in natural logarithms of energy. waveform: the square roots of the shares of
        power below 1/16, up to 1/4 and above 1/4 of half the rate, the share of changes of sign, and the spread of
        the natural logarithm of RMS over 20 ms pieces.
        """
        if self.input == "waveform":
            return _summarize_waveform(window[self.input], self.params.rate)
        levels = window[self.input].astype(np.float64)
        thirds = np.linspace(0, levels.shape[1], 4).round().astype(int)
        spreads = [levels[:, low:high].mean(axis=1).std() if high > low else 0.0 for low, high in pairwise(thirds)]
        steps = [np.abs(np.diff(levels, axis=axis)).mean() if levels.shape[axis] > 1 else 0.0 for axis in (0, 1)]
        return np.array([*spreads, *steps], dtype=np.float32)

    def bucket(self, window: Window) -> Hashable:
        """The length to which it is padded: the smallest of the ladder that holds it."""
        return self._padded(window)

    def _padded(self, window: Window) -> int:
        length = len(window[MASK])
        return next(step for step in self._ladder if step >= length)

    def collate(self, windows: Sequence[Window]) -> dict[str, Array]:
        """Pad with zeros to the bucket's length and stack: {input: (batch, length, ...), "mask": (batch, length)}."""
        length = max(self._padded(window) for window in windows)
        stacked = {}
        for name in (self.input, MASK):
            padded = np.zeros((len(windows), length, *windows[0][name].shape[1:]), dtype=np.float32)
            for row, window in zip(padded, windows, strict=True):
                row[: len(window[name])] = window[name]
            stacked[name] = padded
        return stacked

    def examples(self) -> Sequence[Window]:
        """A rising and falling tone in a little noise, one for each length of the ladder."""
        return [self._window(self._features(self._tone(seconds))) for seconds in self.params.ladder_seconds]

    def _tone(self, seconds: float) -> Samples:
        count, rate = self.params.samples(seconds), self.params.rate
        hertz = rate / 16 * (1.0 + 0.5 * np.sin(2.0 * np.pi * 3.0 * np.arange(count) / rate))
        tone = 0.3 * np.sin(2.0 * np.pi * np.cumsum(hertz) / rate)
        noise = np.random.default_rng(0).normal(0.0, 0.01, count)
        return np.asarray(tone + noise, dtype=np.float32)


def _read_item(item: Item) -> tuple[bytes, bool]:
    """The bytes and the member `truncate`, false where it is not given."""
    if unknown := sorted(set(item) - {"bytes", "truncate"}):
        raise InvalidRequest(f"a sound takes no member {unknown[0]!r}; remove it")
    data, truncate = item.get("bytes"), item.get("truncate", False)
    if not isinstance(data, bytes):
        raise InvalidRequest("this model takes a sound: send its bytes")
    if not isinstance(truncate, bool):
        raise InvalidRequest("'truncate' must be true or false")
    return data, truncate


def _trimmed(samples: Samples, rate: int, below_db: float) -> Samples:
    """Cut the pieces of 20 ms before the first and after the last that are within `below_db` of the loudest piece."""
    if len(samples) == 0:
        return samples
    piece = round(rate * TRIM_SECONDS)
    starts = np.arange(0, len(samples), piece)
    centred = samples - samples.mean(dtype=np.float64)  # an offset is no sound
    power = np.add.reduceat(centred**2, starts) / np.diff(np.append(starts, len(samples)))
    heard = np.flatnonzero(power >= power.max() * 10.0 ** (-below_db / 10.0))
    return samples[starts[heard[0]] : starts[heard[-1]] + piece]


def _summarize_waveform(samples: Samples, rate: int) -> npt.NDArray[np.float32]:
    power = np.abs(np.fft.rfft(samples - samples.mean(dtype=np.float64))) ** 2
    low, middle = len(power) // 16, len(power) // 4
    shares = np.array([power[:low].sum(), power[low:middle].sum(), power[middle:].sum()]) / max(power.sum(), 1e-12)
    turns = float(np.mean(np.diff(np.signbit(samples)))) if len(samples) > 1 else 0.0
    pieces = np.array_split(samples.astype(np.float64), max(1, round(len(samples) / (rate * TRIM_SECONDS))))
    spread = np.std([np.log(np.sqrt(np.mean(piece**2)) + 1e-5) for piece in pieces])
    return np.array([*np.sqrt(shares), turns, spread], dtype=np.float32)
