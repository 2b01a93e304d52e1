"""Latency against load: an open loop at rising rates, on the service and on the tutorial service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench, requests_to_service
from benchmarks.contenders import TUTORIAL, tutorial
from benchmarks.load import Arrivals, Loops, drive
from benchmarks.parts.closed import SERVICE
from benchmarks.samples import percentile
from benchmarks.servers import Server, started
from benchmarks.workloads import Workload

SHARES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
QUICK_SHARES = (0.1, 0.5, 0.9)
"""Of the service's closed-loop rate at 16 connections."""


@dataclass(frozen=True, slots=True)
class Point:
    """One rate offered to one server, in requests a second, and the latencies of what it answered."""

    subject: str
    offered: float
    answered: float
    p50_ms: float | None
    p99_ms: float | None
    refused: int
    errors: int


def measure(workload: Workload, bench: Bench, server: Server, say: Callable[[str], None]) -> list[Point]:
    """Measure both servers at the same rates, in turn."""
    effort, requests = bench.effort, requests_to_service(workload)
    contender = tutorial(workload, bench)
    assert contender is not None
    points = []
    with started(contender.command, contender.ready, bench.logs / "tutorial.log", contender.environment) as peer:
        with server.awake():
            peak = drive(server.port, effort.seconds, loops=Loops(requests, 16), settle_s=effort.settle_s).rate
        for share in QUICK_SHARES if effort.quick else SHARES:
            say(f"latency: {share:.0%} of {peak:.0f} a second")
            for name, one in ((SERVICE, server), (TUTORIAL, peer)):
                arrivals = Arrivals(requests, share * peak)
                with one.awake():
                    load = drive(one.port, effort.seconds, arrivals=arrivals, settle_s=effort.settle_s)
                latencies = load.latencies_ms()
                p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
                offered = len(load.due) / (load.end - load.begin)
                refused = load.count(lambda status: status == 429)
                points.append(Point(name, offered, load.rate, p50, p99, refused, load.errors))
    return points
