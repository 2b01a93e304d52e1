"""Metrics and logs: the Observer that counts, and the formatter that writes one JSON line a record. No HTTP here.

Metrics of several worker processes are summed through small memory-mapped files, one set a worker slot, in a folder
that the supervisor owns. A worker that takes over a slot goes on counting in the files of the one before, so a sum
never falls while the service runs, and the number of files stays bounded however often workers are replaced.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson
import prometheus_client.values
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import MultiProcessValue

from app import __version__

_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
_STEP_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64)
_FILE_BYTES = 256 * 1024
"""First size of a file of values: some 1,500 of them. It doubles when it is full."""
_ENTRY_BYTES = 32
"""The most that a value takes beside its key."""


class Telemetry:
    """Counts what core's Observer reports. Methods are cheap, thread-safe and never raise on any label value."""

    def __init__(self, *, states: Collector | None = None) -> None:
        self._registry = CollectorRegistry()
        self._make_metrics(self._registry)
        self._registry.register(states or States(dict))

    @classmethod
    def shared(cls, folder: Path, slot: int, *, states: Collector | None = None) -> Telemetry:
        """Return the telemetry of the worker in `slot`, which counts into files in `folder` and shows the sum of all.

        To be called once, early in a worker process: prometheus_client keeps the kind of its values, and their
        folder, process-wide. No two live processes may hold one slot.
        """
        folder.mkdir(parents=True, exist_ok=True)  # whoever cleans up temporary files may have removed it
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        prometheus_client.values.MmapedDict = AllocatedDict  # type: ignore[misc]
        prometheus_client.values.ValueClass = MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
        telemetry = cls.__new__(cls)
        telemetry._make_metrics(None)
        telemetry._registry = shared_registry(folder, states=states)
        return telemetry

    def _make_metrics(self, registry: CollectorRegistry | None) -> None:
        # By label values, of which there are few: the library's own look-up locks and makes strings each time.
        def counter(name: str, meaning: str, labels: tuple[str, ...]) -> Callable[..., Counter]:
            return functools.cache(Counter(name, meaning, labels, registry=registry).labels)

        def histogram(
            name: str, meaning: str, labels: tuple[str, ...], buckets: Iterable[float]
        ) -> Callable[..., Histogram]:
            return functools.cache(Histogram(name, meaning, labels, buckets=tuple(buckets), registry=registry).labels)

        self._requests = counter("twinserve_requests", "Requests answered", ("route", "code"))
        self._request_s = histogram("twinserve_request_seconds", "Time to answer a request", ("route",), _REQUEST_S)
        self._refused = counter("twinserve_refused", "Requests and items refused, by error code", ("code",))
        self._prepare_s = histogram("twinserve_prepare_seconds", "Decoding and preparing an item", ("model",), _STEP_S)
        self._queue_s = histogram("twinserve_queue_seconds", "Wait of an item for a batch", ("model",), _STEP_S)
        self._batch_items = histogram("twinserve_batch_items", "Items in a batch", ("model",), _ITEMS)
        self._inference_s = histogram("twinserve_inference_seconds", "Running a batch", ("model",), _STEP_S)
        self._verdicts = counter("twinserve_verdicts", "Comparisons judged", ("model", "operating_point", "verdict"))
        trial = ("model", "candidate")
        self._shadow_pairs = counter("twinserve_shadow_pairs", "Comparisons judged by a version on trial too", trial)
        self._shadow_flips = counter(
            "twinserve_shadow_flips", "Those of them with another verdict", (*trial, "from", "to")
        )
        self._shadow_matches = counter("twinserve_shadow_matches", "Those of them that match", (*trial, "by"))
        self._shadow_dropped = counter("twinserve_shadow_dropped", "Comparisons dropped under load", trial)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests(route, str(status)).inc()
        self._request_s(route).observe(seconds)

    def refused(self, code: str) -> None:
        """Count one refusal."""
        self._refused(code).inc()

    def prepared(self, model: str, seconds: float) -> None:
        """Time one item's preparation."""
        self._prepare_s(model).observe(seconds)

    def queued(self, model: str, seconds: float) -> None:
        """Time one item's wait."""
        self._queue_s(model).observe(seconds)

    def batch(self, model: str, items: int, seconds: float) -> None:
        """Time one batch and count its items."""
        self._batch_items(model).observe(items)
        self._inference_s(model).observe(seconds)

    def verdict(self, model: str, operating_point: str, verdict: str) -> None:
        """Count one verdict."""
        self._verdicts(model, operating_point, verdict).inc()

    def shadowed(self, model: str, candidate: str, verdict: str, candidate_verdict: str) -> None:
        """Count a comparison that a version on trial judged too."""
        self._shadow_pairs(model, candidate).inc()
        if verdict != candidate_verdict:
            self._shadow_flips(model, candidate, verdict, candidate_verdict).inc()
        for by, given in (("model", verdict), ("candidate", candidate_verdict)):
            self._shadow_matches(model, candidate, by).inc(given == "match")  # at 0 too, so that both are there

    def shadow_dropped(self, model: str, candidate: str) -> None:
        """Count one that was dropped."""
        self._shadow_dropped(model, candidate).inc()

    def exposition(self) -> tuple[bytes, str]:
        """Return what /metrics answers, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class AllocatedDict(MmapedDict):
    """A file of values all of whose bytes the disk has given before they are mapped.

    Where it has not, the first write to a page that a full disk cannot give ends the process with SIGBUS. Values that
    find no room are kept by their owner only, and are written once there is.
    """

    def read_value(self, key: str) -> tuple[float, float]:
        """Value and time of a key, both 0 for one that is not there."""
        return super().read_value(key) if self._has_room_for(key) else (0.0, 0.0)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a value and its time."""
        if self._has_room_for(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def _has_room_for(self, key: str) -> bool:
        if key in self._positions:
            return True
        most = self._used + len(key.encode()) + _ENTRY_BYTES
        if most <= self._capacity:
            return True
        try:
            os.posix_fallocate(self._f.fileno(), 0, self._capacity * -(-most // self._capacity))
        except OSError:
            return False
        return True


def allocate_metrics(folder: Path, *, slots: int) -> None:
    """Make the files of so many workers at their first size. Raises OSError where the disk has no room for them."""
    for slot, kind in itertools.product(range(slots), ("counter", "histogram")):
        with (folder / f"{kind}_{slot}.db").open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, _FILE_BYTES)


class States(Collector):
    """What is known rather than counted: the version, and how many workers are in each state."""

    def __init__(self, workers: Callable[[], Mapping[str, int]]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges as they are now."""
        info = GaugeMetricFamily("twinserve_info", "The service that runs; always 1", labels=("version",))
        info.add_metric((__version__,), 1)
        yield info
        workers = GaugeMetricFamily("twinserve_workers", "Worker processes, by state", labels=("state",))
        for state, count in self._workers().items():
            workers.add_metric((state,), count)
        yield workers


class _SumOfSlots(Collector):
    """Every slot's files in a folder, summed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A file is empty for the instant between its creation and its first growth; the library cannot read it then.
        files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


def shared_registry(folder: Path, *, states: Collector | None = None) -> CollectorRegistry:
    """Return a registry that shows the sum over all slots in `folder`. It can be made in any process."""
    registry = CollectorRegistry()
    registry.register(_SumOfSlots(folder))
    registry.register(states or States(dict))
    return registry


@functools.lru_cache(maxsize=1)  # lines come by the thousand a second
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and whatever was given as `extra`. Payloads never are."""

    _OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a newline."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in record.__dict__.items() if name not in self._OWN)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # text that is no Unicode, an integer beyond 64 bits
            return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: str) -> None:
    """Send this process's log records of `level` and above to stderr, as JSON lines. Called once, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    # What a line never shows is not looked for ("Optimization" in the documentation of logging).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The HTTP library tells of each connection and worker at info; the service's own lines say it better.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    for library in ("asyncio", "httpx", "httpcore", "httpcore2", "PIL", "multipart", "python_multipart"):
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
