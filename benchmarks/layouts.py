"""How the bound's processes are laid out, and the search for the best layout. No work is done here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

SERVICE_THREADS = 1
"""Threads inside one inference of the service on CPU; its single request has this layout."""
MOST_IN_BATCH = 64
FINALISTS = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """So many processes, each with `threads` inside an inference, `hand` requests at once, batches up to `cap` items.

    `trim` cuts the padding of a batch to its longest item.
    """

    processes: int
    threads: int
    hand: int
    cap: int
    trim: bool

    def __str__(self) -> str:
        trimmed = ", trimmed" if self.trim else ""
        return f"{self.processes} x {self.threads} threads, {self.hand} in hand, batches of {self.cap}{trimmed}"


@dataclass(frozen=True, slots=True)
class Space:
    """Every layout that holds at most `connections` requests of `items` items each; trimming is for `sequences`.

    A single request runs as the service's does: one process, its number of threads.
    """

    connections: int
    cores: int
    items: int
    sequences: bool

    def first(self) -> Layout:
        """Where the search begins: a process a core, as many requests in hand as there may be."""
        processes = min(self.cores, self.connections)
        hand = self.connections // processes
        return Layout(processes, SERVICE_THREADS, hand, min(8, hand * self.items), self.sequences)

    def along(self, layout: Layout) -> Iterator[Iterator[Layout]]:
        """The axes: layouts that differ from this one in batch, in hand, in processes and threads, in trimming."""
        yield (replace(layout, cap=cap) for cap in self._caps(layout.hand))
        yield (self._with_hand(layout, hand) for hand in _powers(4, self.connections // layout.processes))
        yield (self._with_processes(layout, processes) for processes in self._processes())
        yield (replace(layout, trim=trim) for trim in ((False, True) if self.sequences else (False,)))

    def _caps(self, hand: int) -> Sequence[int]:
        """Of requests with many items the largest three: a try of small batches would take long and never be best."""
        return _powers(2, min(hand * self.items, MOST_IN_BATCH))[-3 if self.items > MOST_IN_BATCH else 0 :]

    def _processes(self) -> Sequence[int]:
        return (1,) if self.connections == 1 else _powers(2, min(self.cores, self.connections))

    def _with_hand(self, layout: Layout, hand: int) -> Layout:
        return replace(layout, hand=hand, cap=min(layout.cap, hand * self.items))

    def _with_processes(self, layout: Layout, processes: int) -> Layout:
        threads = SERVICE_THREADS if self.connections == 1 else max(1, self.cores // processes)
        hand = self.connections // processes
        return self._with_hand(replace(layout, processes=processes, threads=threads), hand)


def search(space: Space, rate: Callable[[Layout, float], float], seconds: float) -> Layout:
    """The fastest found: best along one axis after another, twice round, each layout tried for so many seconds.

    The best few of all that were tried have another, three times as long. What the winner's rate was here is not its
    figure: the largest of many noisy numbers flatters. It is measured anew.
    """
    tried: dict[Layout, float] = {}

    def best(layouts: Iterator[Layout]) -> Layout:
        some = list(layouts)
        for layout in some:
            if layout not in tried:
                tried[layout] = rate(layout, seconds)
        return max(some, key=tried.__getitem__)

    layout = space.first()
    for _ in range(2):
        for axis in range(4):
            layout = best(list(space.along(layout))[axis])
    finalists = sorted(tried, key=tried.__getitem__, reverse=True)[:FINALISTS]
    return max(finalists, key=lambda one: rate(one, 3 * seconds)) if len(finalists) > 1 else layout


def _powers(base: int, most: int) -> list[int]:
    """1, base, base squared, ... and `most` itself."""
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size *= base
    return [*sizes, most]
