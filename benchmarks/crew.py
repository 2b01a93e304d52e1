"""The bound's processes: a crew does the work side by side, each holding so many requests at once, for so long.

At C connections a layout with processes * hand <= C knows no more than a service can know.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.bound import Values, Work
from benchmarks.layouts import Layout


@dataclass(frozen=True, slots=True)
class Turn:
    """What one process of a crew did: requests, the seconds of each hand, and its CPU seconds."""

    requests: int
    hands_s: list[float]
    cpu_s: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / sum(self.hands_s)


class Crew:
    """Processes that do the work side by side, each with `threads` inside an inference. Use as a context manager."""

    def __init__(self, folder: Path, bodies: Sequence[bytes], processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            first = number * len(bodies) // processes
            turned = [*bodies[first:], *bodies[:first]]
            process = context.Process(target=_labour, args=(theirs, folder, turned, threads), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()  # which ends the process
            process.join()

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def work(self, layout: Layout, seconds: float) -> list[Turn]:
        """Work for so long with the layout's hand, cap and trim; one turn a process."""
        for pipe in self._pipes:
            pipe.send((layout, seconds))
        return [pipe.recv() for pipe in self._pipes]

    def answers(self, layout: Layout) -> list[Values]:
        """What the work gives for each request, in order, done by the first process with the layout's hand and cap."""
        self._pipes[0].send((layout, None))
        answers: list[Values] = self._pipes[0].recv()
        return answers


def _labour(pipe: Connection, folder: Path, bodies: Sequence[bytes], threads: int) -> None:
    work = Work(folder, threads)
    pipe.send(None)
    hands: dict[int, itertools.cycle[list[bytes]]] = {}
    seen: set[Layout] = set()
    while True:
        try:
            layout, seconds = pipe.recv()
        except EOFError:
            return
        if seconds is None:
            pipe.send(_answers(work, bodies, layout))
            continue
        if layout.hand not in hands:
            hands[layout.hand] = itertools.cycle(_deal(bodies, layout.hand))
        if layout not in seen:
            work.answer(next(hands[layout.hand]), layout.cap, layout.trim)  # the first run of a shape plans its memory
            seen.add(layout)
        pipe.send(_turn(work, hands[layout.hand], layout, seconds))


def _deal(bodies: Sequence[bytes], hand: int) -> list[list[bytes]]:
    """The bodies in hands of so many, each body in as many hands as any other."""
    turned = itertools.cycle(bodies)
    count = len(bodies) // np.gcd(len(bodies), hand)
    return [[next(turned) for _ in range(hand)] for _ in range(count)]


def _turn(work: Work, hands: itertools.cycle[list[bytes]], layout: Layout, seconds: float) -> Turn:
    taken: list[float] = []
    cpu = time.process_time()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work.answer(next(hands), layout.cap, layout.trim)
        taken.append(time.perf_counter() - began)
    return Turn(len(taken) * layout.hand, taken, time.process_time() - cpu)


def _answers(work: Work, bodies: Sequence[bytes], layout: Layout) -> list[Values]:
    hands = [bodies[start : start + layout.hand] for start in range(0, len(bodies), layout.hand)]
    return [values for hand in hands for values in work.answer(hand, layout.cap, layout.trim)]
