"""How many windows run together, and which, where padding may be cut to their longest. No graph, no clock, no queue."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from app.core.modalities.base import Array, Ragged, Window

MOST_WINDOWS = 32
"""Windows of one run: more gain nothing, and take the more memory."""
FIRST_COME = 0.25
"""Share of a batch's time that goes to whoever came first; the rest to those that are as long as they are, which then
pay for little padding. Who came first of all always runs, so that nobody waits for ever."""


@dataclass(frozen=True, slots=True)
class Run:
    """Windows that run together, by their places, and what stacks them."""

    places: list[int]
    collate: Callable[[Sequence[Window]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Speed:
    """Of windows of one bucket: how many a run may have, and the seconds that each takes in so large a run."""

    largest: int
    seconds: float


def speed(measured: Mapping[int, float], limit_s: float) -> Speed:
    """From size -> seconds: the largest size that takes at most `limit_s`, or 1."""
    largest = max((size for size, taken in measured.items() if taken <= limit_s), default=1)
    return Speed(largest, measured[largest] / largest)


@dataclass(frozen=True, slots=True)
class Trimming:
    """Runs of windows of any length, each padded to its longest.

    `run_steps` is what a run costs beside its steps, in steps; `most_steps` how many steps one may have, padding aside.
    `full` holds the steps to which each bucket is padded elsewhere.
    """

    modality: Ragged
    full: Mapping[Hashable, int]
    run_steps: float
    most_steps: float

    def cut(self, windows: Sequence[Window]) -> list[Run]:
        """Put windows into the runs that together cost the least."""
        lengths = [self.modality.length(window) for window in windows]
        return [
            Run(places, partial(self.modality.collate_to, length=lengths[places[-1]]))
            for places in cheapest(lengths, self.run_steps, self.most_steps)
        ]


def cheapest(lengths: Sequence[int], run_steps: float, most_steps: float) -> list[list[int]]:
    """Places of `lengths`, ascending, cut into the runs whose steps, those of padding too, and `run_steps` are fewest.

    A run has at most `most_steps`, padding aside, or one window.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    sums = [0, *accumulate(lengths[place] for place in order)]
    best, begins = [0.0], [0]  # of the first so many: their cost, and where their last run begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, begin = min(
            (best[start] + run_steps + (end - start) * longest, start)
            for start in range(max(0, end - MOST_WINDOWS), end)
            if start == end - 1 or sums[end] - sums[start] <= most_steps
        )
        best.append(cost)
        begins.append(begin)
    runs, end = [], len(order)
    while end:
        runs.append(order[begins[end] : end])
        end = begins[end]
    return runs


def first_that_fit(seconds: Sequence[float], limit_s: float) -> int:
    """How many of the first fit into `limit_s`, at least one."""
    spent = 0.0
    for place, taken in enumerate(seconds):
        spent += taken
        if place and spent > limit_s:
            return place
    return len(seconds)


def alike_that_fit(seconds: Sequence[float], lengths: Sequence[int], limit_s: float) -> list[int]:
    """Places, ascending, of those that fit into `limit_s`: the first within FIRST_COME of it, and those like them."""
    if sum(seconds) <= limit_s:
        return list(range(len(seconds)))
    chosen = list(range(first_that_fit(seconds, FIRST_COME * limit_s)))
    kinds = {lengths[place] for place in chosen}
    spent = sum(seconds[place] for place in chosen)
    others = range(len(chosen), len(seconds))
    for place in sorted(others, key=lambda place: min(abs(lengths[place] - kind) for kind in kinds)):
        if spent + seconds[place] <= limit_s:
            spent += seconds[place]
            chosen.append(place)
    return sorted(chosen)
