"""What one run knows: where models and peers lie, how much effort it makes, how the service is started and asked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.bundle import read_bundle
from benchmarks.checks import Given, guard_band, join, read_answer
from benchmarks.load import ask_each
from benchmarks.samples import OK
from benchmarks.servers import Server, started
from benchmarks.wire import post
from benchmarks.workloads import Workload, find_bundle

ROOT = Path(__file__).resolve().parent.parent


class UnmeasuredError(Exception):
    """Something cannot be measured here; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often: measurements of `seconds`, each after `settle_s`, repeated `rounds` times.

    `search_s` is the first try of a layout of the bound; `quick` leaves out what takes long to start.
    """

    rounds: int
    seconds: float
    settle_s: float
    search_s: float
    quick: bool


FULL = Effort(rounds=3, seconds=2.5, settle_s=0.5, search_s=0.2, quick=False)
QUICK = Effort(rounds=1, seconds=1.0, settle_s=0.2, search_s=0.08, quick=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run. `logs` is for what servers print; `weights` is MiniLM as sentence-transformers keeps it."""

    models: Path
    peers: Path
    weights: Path
    logs: Path
    effort: Effort
    cores: int

    def bundle(self, name: str) -> Path:
        """The folder of a model. Raises UnmeasuredError where it is not there."""
        folder = find_bundle(self.models, name)
        if folder is None:
            raise UnmeasuredError(f"{self.models} holds no {name}")
        return folder

    def tolerance(self, name: str) -> float:
        """How far scores, and components of embeddings, of one item may be apart: the guard band of a model."""
        return guard_band(read_bundle(self.bundle(name)))

    @contextlib.contextmanager
    def service(self, **settings: object) -> Iterator[Server]:
        """The service on all models, with these settings beside its defaults."""
        command = [sys.executable, "-m", "app", "serve", "--models", str(self.models), "--port", "{port}"]
        environment = {f"TWINSERVE_{name.upper()}": str(value) for name, value in settings.items()}
        log = self.logs / f"{'-'.join(['service', *map(str, settings.values())])}.log"
        with started(command, "/health/ready", log, environment) as server:
            yield server


def requests_to_service(workload: Workload) -> list[bytes]:
    """The requests of a workload on the wire."""
    return [post(workload.path, body) for body in workload.bodies()]


def ask_alone(server: Server, workload: Workload) -> list[Given]:
    """What the service answers to each request's items when each is asked alone, with nothing else to do."""
    with server.awake():
        answers = ask_each(server.port, requests_to_service(workload.alone()))
    for answer in answers:
        if answer.status != OK:
            raise UnmeasuredError(f"the service answers {workload.name} with {answer.status}: {answer.body[:200]!r}")
    given = [read_answer(answer.body) for answer in answers]
    return [join(given[start : start + workload.units]) for start in range(0, len(given), workload.units)]


def turned(subjects: Sequence[object], by: int) -> list[int]:
    """Places of `subjects`, beginning with another one at each turn, so that none is always first."""
    return [(place + by) % len(subjects) for place in range(len(subjects))]
