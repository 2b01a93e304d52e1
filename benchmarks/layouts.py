"""How the bound's processes are laid out, and the search for the best layout. No work is done here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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


def candidates(connections: int, cores: int, items: int, *, sequences: bool) -> list[Layout]:
    """Every layout that holds at most `connections` requests of `items` items each; trimming is for sequences.

    A single request runs as the service's does: one process, its number of threads.
    """
    shapes = [(1, SERVICE_THREADS)] if connections == 1 else _shapes(min(cores, connections), cores)
    return [
        Layout(processes, threads, hand, cap, trim)
        for processes, threads in shapes
        for hand in _powers(4, connections // processes)
        for cap in _powers(2, min(hand * items, MOST_IN_BATCH))
        for trim in ((False, True) if sequences else (False,))
    ]


def search(layouts: Sequence[Layout], rate: Callable[[Layout, float], float], seconds: float) -> Layout:
    """The fastest: every one is tried for so many seconds, the best few once more for three times as long.

    What the winner's rate was here is not its figure: the largest of many noisy numbers flatters. It is measured anew.
    """
    first = sorted(layouts, key=lambda layout: rate(layout, seconds), reverse=True)[:FINALISTS]
    return max(first, key=lambda layout: rate(layout, 3 * seconds)) if len(first) > 1 else first[0]


def _shapes(most: int, cores: int) -> list[tuple[int, int]]:
    """Processes and threads that use every core, or as many processes as there are requests."""
    return [(processes, max(1, cores // processes)) for processes in _powers(2, most)]


def _powers(base: int, most: int) -> Iterable[int]:
    """1, base, base squared, ... and `most` itself."""
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size *= base
    return [*sizes, most]
