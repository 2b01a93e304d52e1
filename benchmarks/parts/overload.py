"""Overload: single compares at three times what the service can do, in an open loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Bench, ask_alone, requests_to_service
from benchmarks.checks import Difference, differences, distinct_answers
from benchmarks.load import Arrivals, Loops, drive
from benchmarks.samples import OK, REFUSED, percentile
from benchmarks.workloads import Workload

TIMES = 3.0
PEAK_CONNECTIONS = 64
PROMPT_MS = 5.0
"""A refusal within this time is prompt."""
FILL_S = 2.0
"""Until the queue is full and what is measured is the steady state."""
QUEUES_MS = (5000.0, 250.0)
"""The default, and one that binds before the number of requests that a worker takes at once."""


@dataclass(frozen=True, slots=True)
class Overload:
    """`peak` is the better of two closed loops, before and after; rates are requests a second.

    `lag_ms` is how late the 99th of a hundred requests was sent; latencies count from when they were due.
    """

    queue_ms: float
    peak: float
    offered: float
    accepted: float
    accepted_p50_ms: float | None
    accepted_p99_ms: float | None
    refused: int
    refused_p50_ms: float | None
    refused_p99_ms: float | None
    prompt: float | None
    """The share of refusals within PROMPT_MS."""
    without_retry_after: int
    retry_after: tuple[str, ...]
    errors: int
    lag_ms: float | None
    load_cpu: float
    difference: Difference


def measure(workload: Workload, bench: Bench, say: Callable[[str], None]) -> list[Overload]:
    """Measure with each length of queue, on a service of its own."""
    queues = QUEUES_MS[:1] if bench.effort.quick else QUEUES_MS
    return [_measure(workload, bench, queue_ms, say) for queue_ms in queues]


def _measure(workload: Workload, bench: Bench, queue_ms: float, say: Callable[[str], None]) -> Overload:
    effort, requests = bench.effort, requests_to_service(workload)
    loops = Loops(requests, PEAK_CONNECTIONS)
    with bench.service(queue_ms=queue_ms) as server:
        alone = ask_alone(server, workload)
        say(f"overload: queue of {queue_ms:g} ms")
        with server.awake():
            before = drive(server.port, effort.seconds, loops=loops, settle_s=effort.settle_s).rate
            arrivals = Arrivals(requests, TIMES * before)
            load = drive(server.port, 2 * effort.seconds, arrivals=arrivals, settle_s=FILL_S)
            after = drive(server.port, effort.seconds, loops=loops, settle_s=effort.settle_s).rate
    accepted, refused = load.latencies_ms(), load.latencies_ms(REFUSED)
    hints = [one.answer.retry_after for one in load.due if one.answer.status == REFUSED]
    return Overload(
        queue_ms=queue_ms,
        peak=max(before, after),
        offered=len(load.due) / (load.end - load.begin),
        accepted=load.rate,
        accepted_p50_ms=percentile(accepted, 50),
        accepted_p99_ms=percentile(accepted, 99),
        refused=len(refused),
        refused_p50_ms=percentile(refused, 50),
        refused_p99_ms=percentile(refused, 99),
        prompt=float((refused <= PROMPT_MS).mean()) if len(refused) else None,
        without_retry_after=hints.count(None),
        retry_after=tuple(sorted({hint.decode() for hint in hints if hint is not None})),
        errors=load.count(lambda status: status not in (OK, REFUSED)),
        lag_ms=percentile(load.lags_ms(), 99),
        load_cpu=load.cpu_share,
        difference=differences(distinct_answers(load), alone, bench.tolerance(workload.model)),
    )
