"""Which settings follow from figures. Pure: no process is started and no clock is read here."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CLEARLY = 1.05
"""Times the default's throughput that another layout must reach: less may be how this minute differed from the last."""
NEARLY = 0.97
"""Of the best throughput, what is as good as it; a smaller batch makes fewer callers wait for each other."""
LEAST_MS, MOST_MS = 5, 50
"""Bounds on what is written as TWINSERVE_BATCH_MS; the upper one is its default, by which single requests still pass
between the batches of bulk ones."""


@dataclass(frozen=True, slots=True, order=True)
class Layout:
    """So many processes, each with so many threads inside one inference."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads}"


@dataclass(frozen=True, slots=True)
class Figure:
    """Items a second over all processes, and milliseconds of one batch in one of them."""

    items_per_s: float
    batch_ms: float


Batches = Mapping[int, Figure]
"""Batch size -> figure."""


def layouts(cpus: int) -> list[Layout]:
    """All layouts of counts that are powers of two, or the number of CPUs itself, and use no more than these CPUs."""
    counts = sorted({cpus, *(1 << power for power in range(cpus.bit_length()))})
    return [Layout(*pair) for pair in itertools.product(counts, counts) if math.prod(pair) <= cpus]


def middle(figures: Sequence[Figure]) -> Figure:
    """The median of repeated figures, each number by itself."""
    return Figure(
        statistics.median(one.items_per_s for one in figures), statistics.median(one.batch_ms for one in figures)
    )


def choose_layout(
    measured: Mapping[Layout, Mapping[str, Batches]], default: Layout
) -> tuple[Layout, dict[Layout, float]]:
    """Return the layout to use, and each layout's throughput as a multiple of the default's.

    A layout counts by its best batch for each bundle, and over bundles by the geometric mean, so that all weigh the
    same however fast they are. The best layout is chosen where it is CLEARLY better than the default, else the default.
    """
    best = {
        layout: {key: max(figure.items_per_s for figure in batches.values()) for key, batches in bundles.items()}
        for layout, bundles in measured.items()
    }
    times = {
        layout: statistics.geometric_mean(rate / best[default][key] for key, rate in rates.items())
        for layout, rates in best.items()
    }
    leader = max(times, key=lambda layout: times[layout])
    return (leader if times[leader] >= CLEARLY else default), times


def choose_batch(batches: Batches) -> int:
    """Return the smallest size that is NEARLY as fast as the best, of those that take at most MOST_MS."""
    allowed = {size: figure for size, figure in batches.items() if figure.batch_ms <= MOST_MS}
    if not allowed:
        return min(batches)
    best = max(figure.items_per_s for figure in allowed.values())
    return min(size for size, figure in allowed.items() if figure.items_per_s >= NEARLY * best)


def choose_batch_ms(chosen_ms: Iterable[float]) -> int:
    """Return TWINSERVE_BATCH_MS, by which a start lets each bundle's chosen batch pass; each takes `chosen_ms`."""
    return min(MOST_MS, max(LEAST_MS, math.ceil(max(chosen_ms))))
