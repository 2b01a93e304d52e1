"""Single compares beside bulk ones: what each costs the other."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bench import Bench, requests_to_service
from benchmarks.load import CLOSED, OPEN, Arrivals, Loops, drive
from benchmarks.samples import percentile
from benchmarks.servers import Server
from benchmarks.workloads import Workload

BULK_CONNECTIONS = 4
SHARE = 0.05
"""Of what the service can do in single compares: they are to feel the bulk, not to crowd it out."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Latencies of single compares without and with bulk, and pairs a second of bulk without and with them."""

    singles: float
    """Single compares a second, offered."""
    unloaded_p50_ms: float | None
    unloaded_p99_ms: float | None
    loaded_p50_ms: float | None
    loaded_p99_ms: float | None
    bulk_alone: float
    bulk_beside: float
    errors: int


def measure(singles: Workload, bulk: Workload, bench: Bench, server: Server) -> Mixed:
    """Measure single compares alone, bulk alone, and both at once, on the same service."""
    seconds, settle_s = 4 * bench.effort.seconds, bench.effort.settle_s
    requests = requests_to_service(singles)
    loops = Loops(requests_to_service(bulk), BULK_CONNECTIONS)
    with server.awake():
        peak = drive(server.port, bench.effort.seconds, loops=Loops(requests, 16), settle_s=settle_s).rate
        arrivals = Arrivals(requests, SHARE * peak)
        unloaded = drive(server.port, seconds, arrivals=arrivals, settle_s=settle_s)
        alone = drive(server.port, seconds, loops=loops, settle_s=settle_s)
        both = drive(server.port, 2 * seconds, loops=loops, arrivals=arrivals, settle_s=settle_s)
    quiet, busy = unloaded.latencies_ms(), both.of(OPEN).latencies_ms()
    return Mixed(
        singles=arrivals.rate,
        unloaded_p50_ms=percentile(quiet, 50),
        unloaded_p99_ms=percentile(quiet, 99),
        loaded_p50_ms=percentile(busy, 50),
        loaded_p99_ms=percentile(busy, 99),
        bulk_alone=alone.rate * bulk.units,
        bulk_beside=both.of(CLOSED).rate * bulk.units,
        errors=sum(len(load.due) - len(load.latencies_ms()) for load in (unloaded, alone, both)),
    )
