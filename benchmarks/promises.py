"""What the project promises of its speed: what each promise wants, and what was measured. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.contenders import INFINITY, TUTORIAL
from benchmarks.parts.closed import SERVICE, Closed
from benchmarks.parts.costs import PATIENCE, UTILISATION
from benchmarks.report import Report, ratio, rows

EFFICIENCY = 0.95
LATENCY = 1.15
OVER_TUTORIAL = 1.7
OVER_INFINITY = 2.5
PROMPT = 0.99
"""The share of refusals that must come within overload.PROMPT_MS. One in a hundred may be the load's own delay."""
BATCH_MS = 50.0
"""TWINSERVE_BATCH_MS as it is by default."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; `held` is None where it could not be measured."""

    says: str
    wanted: str
    measured: str
    held: bool | None


def promises(report: Report) -> list[Promise]:
    """Every promise that this run says something of."""
    found: list[Promise] = []
    for closed in report.closed:
        found += _efficiency(closed)
        found += _over_peers(closed)
    return [*found, *_overload(report), *_mixed(report), *_costs(report)]


def _efficiency(closed: Closed) -> Iterator[Promise]:
    for row in rows(closed):
        if row.subject != SERVICE:
            continue
        if row.connections == 1 and row.p50_of_bound is not None:
            says = f"{closed.workload}, 1 connection: median latency over the bound's"
            yield _at_most(says, row.p50_of_bound, LATENCY)
        elif row.connections > 1:
            says = f"{closed.workload}, {row.connections} connections: throughput over the bound's"
            yield _at_least(says, row.of_bound, EFFICIENCY)
        wrong = row.errors + row.beyond + row.verdicts
        says = f"{closed.workload}, {row.connections} connections: errors, and answers unlike those alone"
        yield Promise(says, "0", str(wrong), wrong == 0)


def _over_peers(closed: Closed) -> Iterator[Promise]:
    for peer, wanted in ((TUTORIAL, OVER_TUTORIAL), (INFINITY, OVER_INFINITY)):
        for connections in (16, 64):
            times = ratio(closed, SERVICE, peer, connections)
            if times is not None:
                yield _at_least(f"{closed.workload}, {connections} connections: over {peer}", times, wanted)


def _overload(report: Report) -> Iterator[Promise]:
    for one in report.overload:
        says = f"overload, queue of {one.queue_ms:g} ms"
        yield _at_least(f"{says}: accepted over peak", one.accepted / one.peak, EFFICIENCY)
        if one.accepted_p99_ms is not None:
            yield _at_most(f"{says}: p99 of the accepted, ms", one.accepted_p99_ms, 2 * one.queue_ms)
        if one.prompt is not None:
            yield _at_least(f"{says}: share of refusals within 5 ms", one.prompt, PROMPT)
        wrong = one.errors + one.without_retry_after + one.difference.beyond + one.difference.verdicts
        yield Promise(f"{says}: errors, refusals without Retry-After, wrong answers", "0", str(wrong), wrong == 0)


def _mixed(report: Report) -> Iterator[Promise]:
    one = report.mixed
    if one is None:
        return
    if one.unloaded_p99_ms is not None and one.loaded_p99_ms is not None:
        most = max(3 * one.unloaded_p99_ms, one.unloaded_p99_ms + 2 * BATCH_MS)
        yield _at_most("p99 of single compares beside bulk, ms", one.loaded_p99_ms, most)
    yield _at_least("bulk beside single compares, over bulk alone", one.bulk_beside / one.bulk_alone, 0.8)


def _costs(report: Report) -> Iterator[Promise]:
    for one in report.costs:
        if (slowest := one.full.slowest(UTILISATION)) is not None:
            yield _at_most(
                f"{one.title}: p99 at {UTILISATION:.0%} of the peak over the median alone", slowest, PATIENCE
            )


def _at_least(says: str, measured: float, wanted: float) -> Promise:
    return Promise(says, f"at least {wanted:.4g}", f"{measured:.3g}", measured >= wanted)


def _at_most(says: str, measured: float, wanted: float) -> Promise:
    return Promise(says, f"at most {wanted:.4g}", f"{measured:.3g}", measured <= wanted)
