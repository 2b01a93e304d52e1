"""From the rows of an item to float64 (steps, channels) without gaps, at the rate of the graph. No normalisation."""

from __future__ import annotations

from itertools import chain
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from app.core.errors import InvalidRequest, UnusableInput

LARGEST = float(np.finfo(np.float32).max)

Numbers = npt.NDArray[np.float64]


def read(rows: list[Any], channels: int, order: str) -> tuple[Numbers, bool]:
    """The numbers of an item, float64 (steps, channels), null as NaN, and whether there is any null.

    `rows` has at least one row; `order` says in words what a row holds. Whole lists are checked at a time, since a
    loop over millions of numbers would hold up every other request. Raises InvalidRequest for rows that are none or
    of a wrong length and for anything but int, float and None; UnusableInput for numbers that float32 cannot hold.
    """
    if set(map(type, rows)) != {list}:
        raise InvalidRequest("values must be an array of time steps, each an array of numbers, even for one channel")
    if set(map(len, rows)) != {channels}:
        wrong = next(place for place, row in enumerate(rows) if len(row) != channels)
        raise InvalidRequest(
            f"each time step needs {channels} numbers: {order}; step {wrong}, from 0, has another count"
        )
    flat = list(chain.from_iterable(rows))
    if not set(map(type, flat)) <= {int, float, NoneType}:  # a bool is an int to isinstance, but no number here
        raise InvalidRequest("values must hold numbers only: no strings, no true or false, no deeper arrays")
    unusable = UnusableInput("the series holds numbers too large to be measurements; check its units")
    try:
        numbers = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer beyond float64
        raise unusable from None
    gaps = np.isnan(numbers)
    nulls = flat.count(None)
    # A NaN that was no null: JSON has none, but a caller within Python may.
    if int(gaps.sum()) != nulls or not (np.abs(numbers[~gaps]) <= LARGEST).all():
        raise unusable
    return numbers.reshape(len(rows), channels), nulls > 0


def interpolate(numbers: Numbers, longest: float) -> Numbers:
    """Fill gaps (NaN) by a line between their neighbours, by channel; a gap at an edge takes its only neighbour.

    `longest` is the longest run to fill, in steps of `numbers`. Raises UnusableInput for a longer one and for a
    channel without a number.
    """
    filled, steps = numbers.copy(), np.arange(len(numbers))
    for channel in range(numbers.shape[1]):
        gap = np.isnan(numbers[:, channel])
        if not gap.any():
            continue
        if gap.all():
            raise UnusableInput("a channel of the series holds no number at all; send one that was recorded whole")
        edges = np.flatnonzero(np.diff(gap, prepend=False, append=False))
        run = int((edges[1::2] - edges[::2]).max())
        if run > longest:
            raise UnusableInput(
                f"the series has a gap of {run} steps; at most {int(longest)} in a row are filled: send a stretch "
                "without such a gap"
            )
        filled[gap, channel] = np.interp(steps[gap], steps[~gap], numbers[~gap, channel])
    return filled


def resample(numbers: Numbers, rate: float, target: float, length: int) -> Numbers:
    """Bring at least two steps at `rate` to `length` steps at `target`, both in Hz, with soxr at quality HQ.

    soxr takes what lies beyond both ends for zeros, so that a series far from zero would ring there for many steps.
    The line from the first value to the last is therefore taken off before and put back after.
    """
    slope = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
    line = numbers[0] + slope * np.arange(len(numbers))[:, np.newaxis]
    bent = soxr.resample(numbers - line, rate, target, quality="HQ")[:length]
    result: Numbers = numbers[0] + slope * (np.arange(length) * (rate / target))[:, np.newaxis]
    result[: len(bent)] += bent
    return result
