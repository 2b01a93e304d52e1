"""The series modality: limits, the rate of an item, normalisation, windows and padding."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.errors import InvalidRequest, TooLarge, UnusableInput
from app.core.modalities.base import Array, Item, Limits, Prepared, Window, stack
from app.core.modalities.series.params import MAX_NUMBERS, Params, check
from app.core.modalities.series.rows import Numbers, interpolate, read, resample

VALUES, MASK = "values", "mask"
FLAT = 1e-6
"""A channel that spans no more than this share of its largest value holds little but the rounding of float32."""


def create(params: Mapping[str, Any], assets: Mapping[str, bytes]) -> SeriesModality:
    """Make the series modality for a bundle. Raises BundleRefused for params that it does not accept."""
    del assets  # series need none
    return SeriesModality(check(params))


class SeriesModality:
    """Modality for series; see base.Modality.

    Windows are {"values": float32 (steps, channels), "mask": float32 (steps,)}, padded with zeros to a length of the
    ladder; the mask is 1 for real steps and 0 for padding, which always comes last. A mask and not lengths: pooling
    and convolutions multiply by it as it is, where lengths would first have to be compared with a range.
    """

    form = "values"
    media_types: tuple[str, ...] = ()

    def __init__(self, params: Params) -> None:
        self.params = params
        named = [f"{channel.name} in {channel.unit}" for channel in params.channels]
        self._order = ", ".join(named if len(named) <= 8 else [*named[:8], "..."])

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Prepare {"values": steps x channels of int, float or None, "rate"?: hz} to padded float32 windows.

        Raises InvalidRequest for unknown members, wrong types, rows of a wrong length and rates that the bundle does
        not take; TooLarge beyond a limit or `max_steps`, before any number is read; UnusableInput for numbers beyond
        float32, gaps that are not filled, too few steps and series without variation.
        """
        rows, rate = self._members(item)
        params, given, wanted = self.params, rate or 1.0, self.params.rate or 1.0
        length = math.floor(len(rows) * wanted / given + 0.5)  # as soxr rounds
        self._check_length(len(rows), length, rate, limits)
        numbers, has_gaps = read(rows, len(params.channels), self._order)
        if has_gaps:
            if params.max_gap is None:
                raise UnusableInput("the series has gaps (null), which this model does not take: send one without")
            numbers = interpolate(numbers, params.max_gap * given / wanted)
        largest = np.abs(numbers).max(axis=0)
        if given != wanted:
            numbers = resample(numbers, given, wanted, length)
        ready = self._normalise(numbers, np.ptp(numbers, axis=0) <= FLAT * largest)
        windows = tuple(self._pad(ready[start : start + self._longest]) for start in self._starts(length))
        done = {"interpolated": has_gaps, "resampled": given != wanted, "windowed": len(windows) > 1}
        return Prepared(windows, tuple(code for code, applies in done.items() if applies))

    def narrow(self, limits: Limits) -> Limits:
        """Seconds that max_steps last, where the series is timed."""
        if self.params.rate is None:
            return limits
        return replace(limits, max_seconds=min(limits.max_seconds, self.params.max_steps / self.params.rate))

    def summarize(self, window: Window) -> npt.NDArray[np.float32]:
        """Level, spread, roughness, flatness and lean of the real steps, over all channels: float32 (5,).

        Level and spread are root mean squares of the channels' means and standard deviations, under asinh. The others
        ignore size and are means over channels: mean step over standard deviation (0 for a line, near 1.1 for noise),
        mean over standard deviation of the distances from the mean (low for rare peaks, 1 for a square wave), and the
        share of values above the mean. No number a channel: with many channels, each more would refuse more callers.
        """
        steps = window[VALUES][window[MASK] > 0].astype(np.float64)
        means, deviations = steps.mean(axis=0), steps.std(axis=0)
        away, known = steps - means, np.maximum(deviations, np.finfo(np.float32).tiny)
        jumps = np.abs(np.diff(steps, axis=0)).mean(axis=0) if len(steps) > 1 else np.zeros_like(means)
        level, spread = (np.arcsinh(np.sqrt((numbers**2).mean())) for numbers in (means, deviations))
        shape = ((numbers / known).mean() for numbers in (jumps, np.abs(away).mean(axis=0)))
        return np.array([level, spread, *shape, (away > 0).mean()], dtype=np.float32)

    def bucket(self, window: Window) -> Hashable:
        """The padded length: windows of one rung of the ladder share a batch."""
        return len(window[MASK])

    def collate(self, windows: Sequence[Window]) -> dict[str, Array]:
        """Stack to {"values": float32 (batch, steps, channels), "mask": float32 (batch, steps)}."""
        return stack(windows)

    def examples(self) -> Sequence[Window]:
        """Two sines a channel, at every length of the ladder, without padding."""
        turns = 1 + np.arange(len(self.params.channels))
        examples = []
        for length in self.params.ladder:
            time = 2 * np.pi * np.arange(length)[:, np.newaxis] / length
            examples.append(self._pad((np.sin(time * turns) + np.sin(time * 5) / 2).astype(np.float32)))
        return examples

    def _members(self, item: Item) -> tuple[list[Any], float | None]:
        """The rows of an item, unread, and their rate in Hz: the graph's where none is given, None where untimed."""
        if unknown := sorted(set(item) - {VALUES, "rate"}):
            raise InvalidRequest(f"a series takes no member {unknown[0]!r}; remove it")
        rows = item.get(VALUES)
        if not isinstance(rows, list):
            raise InvalidRequest("this model takes a series: send values, an array of time steps")
        params = self.params
        if "rate" not in item:
            return rows, params.rate
        if params.rate is None:
            raise InvalidRequest("this model takes series without a rate; remove it")
        rate = item["rate"]
        if type(rate) not in (int, float):  # a bool is an int to isinstance
            raise InvalidRequest("rate must be a number, in Hz")
        low, high = params.min_rate or params.rate, params.max_rate or params.rate
        if not low <= rate <= high:  # holds for integers beyond float too
            takes = f"{low:g} Hz" if low == high else f"{low:g} to {high:g} Hz"
            raise InvalidRequest(f"this model takes series of {takes}; resample yours")
        return rows, float(rate)

    def _check_length(self, given: int, length: int, rate: float | None, limits: Limits) -> None:
        """`given` steps at `rate` become `length` steps: neither may be beyond a limit, nor too few."""
        params = self.params
        unit = "" if rate is None else f" at {params.rate:g} Hz"
        if length > params.max_steps:
            raise TooLarge(f"the series has {length} steps{unit}; at most {params.max_steps} are taken")
        if rate is not None and given / rate > limits.max_seconds:
            raise TooLarge(f"the series lasts {given / rate:g} seconds; at most {limits.max_seconds:g} are taken")
        if given * len(params.channels) > MAX_NUMBERS:
            raise TooLarge(f"the series has more than {MAX_NUMBERS} numbers; send a shorter one or a lower rate")
        if given < 2 or length < params.min_steps:
            raise UnusableInput(f"the series has {length} steps{unit}; send at least {params.min_steps}")

    def _normalise(self, numbers: Numbers, flat: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Scale as the params say, to float32 (steps, channels). `flat` tells the channels without variation.

        Where each channel is divided by its own deviation, one flat channel is refused: its rounding errors would
        become the signal, and zeros would claim a measurement. Else the series is refused where all are flat.
        """
        params = self.params
        if flat.all() or (params.normalisation == "per_item" and flat.any()):
            which = "the series" if flat.all() else "a channel of the series"
            raise UnusableInput(f"{which} is constant: send one in which every channel was recorded")
        mean, scale = params.mean, params.scale
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
            if params.normalisation == "per_item":
                numbers = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
            elif mean is not None and scale is not None:
                numbers = (numbers - np.array(mean)) / np.array(scale)
            ready = numbers.astype(np.float32)
        if not np.isfinite(ready).all():
            raise UnusableInput("the series holds numbers too large to be measurements; check its units")
        return ready

    @property
    def _longest(self) -> int:
        return self.params.ladder[-1]

    def _starts(self, length: int) -> Iterator[int]:
        """Where windows start: every hop, and the last so that it ends with the series and needs no padding."""
        last = max(0, length - self._longest)
        yield from range(0, last, self.params.hop_steps or last or 1)
        yield last

    def _pad(self, steps: npt.NDArray[np.float32]) -> Window:
        """A window of `steps` (at most the longest), padded with zeros to the next length of the ladder."""
        real, ladder = len(steps), self.params.ladder
        values = np.zeros((ladder[bisect_left(ladder, real)], steps.shape[1]), dtype=np.float32)
        mask = np.zeros(len(values), dtype=np.float32)
        values[:real], mask[:real] = steps, 1.0
        return {VALUES: values, MASK: mask}
