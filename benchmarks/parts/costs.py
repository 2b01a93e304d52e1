"""What a compare costs by kind of input, where that goes, how it grows with workers, and what serving many takes."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from app.core.bundle import read_bundle
from benchmarks.bench import Bench, UnmeasuredError, requests_to_service
from benchmarks.bound import Work
from benchmarks.load import Arrivals, Loops, drive
from benchmarks.processes import cpu_seconds
from benchmarks.samples import OK, Load, percentile
from benchmarks.servers import Server
from benchmarks.wire import post
from benchmarks.workloads import Workload

CONNECTIONS = 8
"""Closed loops: they keep a few workers busy without a long queue."""
SHARES = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Of its peak: what a service is asked to carry, from the largest down to the first at which nobody waits for long."""
UTILISATION = SHARES[0]
PATIENCE = 5.0
"""How many times the latency alone the p99 may be."""
TARGET = 1000.0
"""Compares a second of which the cores are told."""
EMBEDDINGS = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of input: its requests on the wire, and what the kernel alone takes to prepare two items and to run
    them, one request after another.
    """

    name: str
    title: str
    requests: list[bytes]
    prepare_ms: float
    model_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """One kind with so many workers: compares a second in closed loops, CPU of all processes for one of them, the
    median latency of one alone, the p99 at each share of the peak that was tried (open loop; none with fewer workers
    than cores), and answers that were not 200.
    """

    rate: float
    cpu_ms: float
    alone_ms: float | None
    p99_ms: Mapping[float, float | None]
    errors: int

    @property
    def prompt_share(self) -> float | None:
        """The largest share tried whose p99 is within PATIENCE of the latency alone."""
        return next((share for share in self.p99_ms if (self.slowest(share) or math.inf) <= PATIENCE), None)

    def slowest(self, share: float) -> float | None:
        """The p99 at a share that was tried, over the latency alone."""
        p99_ms = self.p99_ms[share]
        return p99_ms / self.alone_ms if p99_ms and self.alone_ms else None


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of input, measured with each number of workers."""

    title: str
    prepare_ms: float
    model_ms: float
    runs: Mapping[int, Run]

    @property
    def full(self) -> Run:
        """With a worker for each core."""
        return self.runs[max(self.runs)]

    def cores(self, share: float) -> float:
        """Cores that TARGET compares a second need where they are to be loaded by this share."""
        return TARGET * self.full.cpu_ms / 1000 / share

    @property
    def scaling(self) -> float:
        """Throughput of all workers over that of one."""
        return self.full.rate / self.runs[min(self.runs)].rate


def measure(
    embedded: Workload, workloads: Sequence[Workload], bench: Bench, say: Callable[[str], None]
) -> tuple[list[Cost], dict[str, str]]:
    """Measure compares of the embeddings of one workload's items, and of the items of others.

    Those whose model is not there are left out: name -> reason.
    """
    missing: dict[str, str] = {}
    kinds = [_embeddings(bench, embedded)]
    for workload in workloads:
        try:
            kinds.append(_kind(bench, workload))
        except UnmeasuredError as error:
            missing[f"costs of {workload.name}"] = str(error)
    runs: dict[str, dict[int, Run]] = {kind.name: {} for kind in kinds}
    for workers in sorted({1, bench.cores}):
        with bench.service(workers=workers) as server:
            for kind in kinds:
                say(f"costs: {kind.name}, {workers} workers")
                runs[kind.name][workers] = _run(kind, bench, server, SHARES if workers == bench.cores else ())
    return [Cost(kind.title, kind.prepare_ms, kind.model_ms, runs[kind.name]) for kind in kinds], missing


def _kind(bench: Bench, workload: Workload) -> Kind:
    work = Work(bench.bundle(workload.model), 1)
    timed = [work.shares(body) for body in 2 * workload.bodies()]
    prepare_ms, model_ms = (1000 * statistics.median(part) for part in zip(*timed, strict=True))
    return Kind(workload.name, workload.title, requests_to_service(workload), prepare_ms, model_ms)


def _embeddings(bench: Bench, workload: Workload) -> Kind:
    """Compares of embeddings: nothing is prepared or run, so all of their cost is HTTP and judging."""
    folder = bench.bundle(workload.model)
    work, fingerprint = Work(folder, 1), read_bundle(folder).fingerprint
    bodies = []
    for pair in workload.requests[:EMBEDDINGS]:
        [rows] = work.answer([orjson.dumps({"inputs": pair})], len(pair), trim=False)
        a, b = (
            {"embedding": base64.b64encode(row.astype("<f4").tobytes()).decode(), "fingerprint": fingerprint}
            for row in rows
        )
        bodies.append(orjson.dumps({"model": workload.model, "a": a, "b": b}))
    return Kind("embeddings", "two embeddings, base64", [post("/compare", body) for body in bodies], 0.0, 0.0)


def _run(kind: Kind, bench: Bench, server: Server, shares: Sequence[float]) -> Run:
    effort, pids = bench.effort, server.pids
    with server.awake():
        alone = drive(server.port, effort.seconds, loops=Loops(kind.requests, 1), settle_s=effort.settle_s)
        spent = cpu_seconds(pids)
        busy = drive(server.port, effort.seconds, loops=Loops(kind.requests, CONNECTIONS), settle_s=effort.settle_s)
        spent = cpu_seconds(pids) - spent
        answered = sum(one.answer.status == OK for one in busy.samples)
        if not answered:
            raise UnmeasuredError(f"the service answers no {kind.name}")
        alone_ms = percentile(alone.latencies_ms(), 50)
        run = Run(busy.rate, 1000 * spent / answered, alone_ms, {}, _errors(alone) + _errors(busy))
        for share in shares:
            arrivals = Arrivals(kind.requests, share * busy.rate)
            planned = drive(server.port, 2 * effort.seconds, arrivals=arrivals, settle_s=effort.settle_s)
            p99_ms = percentile(planned.latencies_ms(), 99)
            run = replace(run, p99_ms={**run.p99_ms, share: p99_ms}, errors=run.errors + _errors(planned))
            if run.prompt_share is not None:
                break
    return run


def _errors(load: Load) -> int:
    return load.count(lambda status: status != OK)
