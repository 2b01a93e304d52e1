"""Closed loops: a workload on bound, service and peers in turn, at each number of connections, round after round."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.bench import Bench, ask_alone, requests_to_service, turned
from benchmarks.contenders import Contender, contenders
from benchmarks.servers import Server, ServerError, started
from benchmarks.subjects import BoundSubject, HttpSubject, Measured, Subject
from benchmarks.workloads import Workload

SERVICE = "service"
QUICK_CONNECTIONS = (1, 16)


@dataclass(slots=True)
class Closed:
    """A workload's measurements, one list a round, and who was not measured: name and reason."""

    workload: str
    title: str
    rounds: list[list[Measured]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)


def measure(workload: Workload, bench: Bench, server: Server, say: Callable[[str], None]) -> Closed:
    """Measure one workload. Raises UnmeasuredError where its model is not there."""
    tolerance, effort = bench.tolerance(workload.model), bench.effort
    result = Closed(workload.name, workload.title)
    alone = ask_alone(server, workload)
    with contextlib.ExitStack() as running:
        bound = BoundSubject(
            bench.bundle(workload.model), workload, alone, tolerance, cores=bench.cores, search_s=effort.search_s
        )
        subjects: list[Subject] = [
            running.enter_context(bound),
            HttpSubject(SERVICE, server, workload, requests_to_service(workload), alone, tolerance),
        ]
        for contender in contenders(workload, bench):
            if not isinstance(contender, Contender):
                result.missing.append(contender)
                continue
            say(f"{workload.name}: starting {contender.name}")
            log = bench.logs / f"{contender.name.split()[0]}.log"
            command = started(contender.command, contender.ready, log, contender.environment)
            try:
                peer = running.enter_context(command)
            except ServerError as error:
                result.missing.append((contender.name, f"did not start: {error}"))
                continue
            requests, allowed = contender.requests, contender.tolerance
            subjects.append(HttpSubject(contender.name, peer, workload, requests, alone, allowed))
        quick = [some for some in workload.connections if some in QUICK_CONNECTIONS] or workload.connections
        for number in range(effort.rounds):
            result.rounds.append([])
            for connections in quick if effort.quick else workload.connections:
                say(f"{workload.name}: round {number + 1} of {effort.rounds}, {connections} connections")
                for place in turned(subjects, number):
                    measured = subjects[place].measure(connections, workload.times * effort.seconds, effort.settle_s)
                    result.rounds[-1].append(measured)
    return result
