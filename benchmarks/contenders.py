"""Whom the service is measured against, where they are installed and can do the work: how each is started and asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.bench import ROOT, Bench, UnmeasuredError, requests_to_service
from benchmarks.checks import PEER_TOLERANCE
from benchmarks.wire import post
from benchmarks.workloads import GLYPHS, MINILM, Workload

BARE, TUTORIAL, LITSERVE, INFINITY = "bare uvicorn", "tutorial service", "LitServe 0.2.19", "infinity-emb 0.0.78"


@dataclass(frozen=True, slots=True)
class Contender:
    """Another server: its command, the path that answers 200 once it is ready, and its requests."""

    name: str
    command: Sequence[str]
    ready: str
    requests: Sequence[bytes]
    tolerance: float
    environment: Mapping[str, str] = field(default_factory=dict)


def bare(workload: Workload, bench: Bench) -> Contender | None:
    """The bound behind bare uvicorn, a process a core, on requests of one pair."""
    if not workload.compares or workload.units > 1:
        return None
    command = [sys.executable, "-m", "benchmarks.peers.bare", str(bench.bundle(workload.model)), "{port}"]
    requests, tolerance = requests_to_service(workload), bench.tolerance(workload.model)
    return Contender(BARE, [*command, str(bench.cores)], "/", requests, tolerance, _on_path())


def tutorial(workload: Workload, bench: Bench) -> Contender | None:
    """The tutorial service, on requests of one pair or one input."""
    if workload.units > 1:
        return None
    command = [sys.executable, "-m", "benchmarks.peers.tutorial", str(bench.bundle(workload.model)), "{port}"]
    requests = requests_to_service(workload)
    return Contender(TUTORIAL, command, "/openapi.json", requests, bench.tolerance(workload.model), _on_path())


def litserve(workload: Workload, bench: Bench) -> Contender | None:
    """LitServe with `glyphs`. Raises UnmeasuredError where it is not installed."""
    if workload.name != GLYPHS:
        return None
    python = _installed(bench, "litserve", "python")
    bundle = str(bench.bundle(workload.model))
    command = [python, "-m", "benchmarks.peers.litserve_app", bundle, "{port}", str(bench.cores)]
    requests = requests_to_service(workload)
    return Contender(LITSERVE, command, "/health", requests, bench.tolerance(workload.model), _on_path())


def infinity(workload: Workload, bench: Bench) -> Contender | None:
    """infinity-emb with its torch engine and defaults, on short texts. Raises UnmeasuredError where it is not there."""
    if workload.name != "short-texts" or workload.model != MINILM:
        return None
    program = _installed(bench, "infinity", "infinity_emb")
    if not (bench.weights / "config.json").is_file():
        raise UnmeasuredError(f"{bench.weights} holds no weights of MiniLM: make import-minilm fetches them")
    options = ("--engine", "torch", "--device", "cpu", "--served-model-name", MINILM, "--port", "{port}")
    command = [program, "v2", "--model-id", str(bench.weights), *options]
    bodies = [{"model": MINILM, "input": [item["text"] for item in items]} for items in workload.requests]
    requests = [post("/embeddings", orjson.dumps(body)) for body in bodies]
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return Contender(INFINITY, command, "/health", requests, PEER_TOLERANCE, offline)


CONTENDERS: Sequence[tuple[str, Callable[[Workload, Bench], Contender | None]]] = (
    (BARE, bare),
    (TUTORIAL, tutorial),
    (LITSERVE, litserve),
    (INFINITY, infinity),
)


def contenders(workload: Workload, bench: Bench) -> Iterator[Contender | tuple[str, str]]:
    """Those that can do this workload; name and reason of one that is not installed."""
    for name, find in CONTENDERS:
        try:
            found = find(workload, bench)
        except UnmeasuredError as error:
            yield name, str(error)
        else:
            if found is not None:
                yield found


def _installed(bench: Bench, name: str, program: str) -> str:
    if bench.effort.quick:
        raise UnmeasuredError("left out by --quick")
    path: Path = bench.peers / name / "bin" / program
    if not path.exists():
        raise UnmeasuredError("not installed: make bench-peers")
    return str(path)


def _on_path() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}
