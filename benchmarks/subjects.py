"""Who is measured, each in the same way: asked for one workload at some connections for some seconds."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from benchmarks.checks import Difference, Given, differences, distinct_answers
from benchmarks.crew import Crew, Turn
from benchmarks.layouts import Layout, Space, search
from benchmarks.load import Loops, drive
from benchmarks.processes import cpu_seconds, pss_mb
from benchmarks.samples import OK, REFUSED, percentile
from benchmarks.servers import Server
from benchmarks.workloads import Workload

BOUND = "bound"
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement.

    `rate` is pairs or inputs a second; latencies are of whole requests, the bound's of whole hands, at these
    PERCENTILES; `cpu_s` is CPU seconds for a thousand pairs or inputs; `load_cpu` the share of one CPU that sending
    took; `pss_mb` the memory of all its processes after it; `layout` the bound's.
    """

    subject: str
    workload: str
    connections: int
    rate: float
    latencies_ms: tuple[float | None, ...]
    cpu_s: float | None
    load_cpu: float
    pss_mb: float
    errors: int
    difference: Difference
    layout: str | None = None


class Subject(Protocol):
    """The bound, or a server."""

    @property
    def name(self) -> str:
        """As the table calls it."""

    def measure(self, connections: int, seconds: float, settle_s: float) -> Measured:
        """Measure it once, for `seconds` after `settle_s`."""


@dataclass(frozen=True)
class HttpSubject:
    """A running server and the requests of one workload in the form that it takes.

    `alone` holds the answers of the service to the same items alone, which the server's may miss by `tolerance`.
    """

    name: str
    server: Server
    workload: Workload
    requests: Sequence[bytes]
    alone: Sequence[Given]
    tolerance: float

    def measure(self, connections: int, seconds: float, settle_s: float) -> Measured:
        """Closed loops. Every answer but 200 is an error: a closed loop never asks for more than it is given."""
        pids = self.server.pids
        with self.server.awake():
            cpu_s = cpu_seconds(pids)
            load = drive(self.server.port, seconds, loops=Loops(self.requests, connections), settle_s=settle_s)
            cpu_s = cpu_seconds(pids) - cpu_s
        answered = sum(one.answer.status == OK for one in load.samples) * self.workload.units
        latencies = load.latencies_ms()
        return Measured(
            self.name,
            self.workload.name,
            connections,
            rate=load.rate * self.workload.units,
            latencies_ms=tuple(percentile(latencies, share) for share in PERCENTILES),
            cpu_s=1000 * cpu_s / answered if answered else None,
            load_cpu=load.cpu_share,
            pss_mb=pss_mb(pids),
            errors=load.errors + load.count(lambda status: status == REFUSED),
            difference=differences(distinct_answers(load), self.alone, self.tolerance),
        )


class BoundSubject:
    """The bound on one workload. Use as a context manager: its crews live until the end."""

    name = BOUND

    def __init__(
        self, folder: Path, workload: Workload, alone: Sequence[Given], tolerance: float, *, cores: int, search_s: float
    ) -> None:
        self._folder = folder
        self._workload = workload
        self._alone = alone
        self._tolerance = tolerance
        self._cores = cores
        self._search_s = search_s
        self._bodies = workload.bodies()
        self._crews: dict[tuple[int, int], Crew] = {}
        self._layouts: dict[int, Layout] = {}
        self._rates: dict[tuple[Layout, float], float] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def measure(self, connections: int, seconds: float, settle_s: float) -> Measured:
        """Measure the best layout for so many connections, which is searched first, once."""
        if connections not in self._layouts:
            self._layouts[connections] = self._search(connections)
        layout = self._layouts[connections]
        crew = self._crew(layout)
        crew.work(layout, settle_s)
        turns = crew.work(layout, seconds)
        hands_ms = 1000 * np.concatenate([turn.hands_s for turn in turns])
        units = sum(turn.requests for turn in turns) * self._workload.units
        given = [(request, Given(values)) for request, values in enumerate(crew.answers(layout))]
        return Measured(
            self.name,
            self._workload.name,
            connections,
            rate=_rate(turns) * self._workload.units,
            latencies_ms=tuple(percentile(hands_ms, share) for share in PERCENTILES),
            cpu_s=1000 * sum(turn.cpu_s for turn in turns) / units,
            load_cpu=0.0,
            pss_mb=pss_mb(crew.pids),
            errors=0,
            difference=differences(given, self._alone, self._tolerance),
            layout=str(layout),
        )

    def _search(self, connections: int) -> Layout:
        items, sequences = len(self._workload.requests[0]), not self._workload.compares
        return search(Space(connections, self._cores, items, sequences), self._measure_layout, self._search_s)

    def _measure_layout(self, layout: Layout, seconds: float) -> float:
        if (layout, seconds) not in self._rates:  # other connections may have asked for the same layout
            self._rates[layout, seconds] = _rate(self._crew(layout).work(layout, seconds))
        return self._rates[layout, seconds]

    def _crew(self, layout: Layout) -> Crew:
        shape = (layout.processes, layout.threads)
        if shape not in self._crews:
            crew = Crew(self._folder, self._bodies, layout.processes, layout.threads)
            self._crews[shape] = self._open.enter_context(crew)
        return self._crews[shape]


def _rate(turns: Sequence[Turn]) -> float:
    """Requests a second of processes side by side."""
    return sum(turn.rate for turn in turns)
