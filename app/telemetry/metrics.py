"""Metrics: the Observer that counts, in this process's memory or in files that all worker processes sum up."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import prometheus_client.values
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from app.telemetry.drift import Drift
from app.telemetry.facts import States
from app.telemetry.files import SlotValue
from app.telemetry.scores import Scores
from app.telemetry.sums import shared_registry

_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
_STEP_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64)


class _Histogram(Histogram):
    """Finds the bucket by halves, where the library's own tries one after the other."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count one value; exemplars are not kept."""
        del exemplar
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)


class Telemetry:
    """Counts what core's Observer reports. Methods are cheap, thread-safe and never raise on any label value."""

    def __init__(self, *, states: Collector | None = None) -> None:
        self._registry = CollectorRegistry()
        self._make_metrics(self._registry)
        self._registry.register(self._scores)
        self._registry.register(states or States(dict))

    @classmethod
    def shared(
        cls, folder: Path, slot: int, *, states: Collector | None = None, drift: Drift | None = None
    ) -> Telemetry:
        """Return the telemetry of the worker in `slot`, which counts into files in `folder` and shows the sum of all.

        To be called once, early in a worker process: prometheus_client keeps the kind of its values, and their
        folder, process-wide. No two live processes may hold one slot.
        """
        folder.mkdir(parents=True, exist_ok=True)  # whoever cleans up temporary files may have removed it
        SlotValue.folder, SlotValue.slot = folder, slot
        prometheus_client.values.ValueClass = SlotValue
        telemetry = cls.__new__(cls)
        telemetry._make_metrics(None)
        telemetry._registry = shared_registry(folder, states=states, drift=drift)
        return telemetry

    def _make_metrics(self, registry: CollectorRegistry | None) -> None:
        # By label values, of which there are few: the library's own look-up locks and makes strings each time.
        def counter(name: str, meaning: str, labels: tuple[str, ...]) -> Callable[..., Counter]:
            return functools.cache(Counter(name, meaning, labels, registry=registry).labels)

        def histogram(
            name: str, meaning: str, labels: tuple[str, ...], buckets: Iterable[float]
        ) -> Callable[..., Histogram]:
            return functools.cache(_Histogram(name, meaning, labels, buckets=tuple(buckets), registry=registry).labels)

        self._requests = counter("twinserve_requests", "Requests answered", ("route", "code"))
        self._request_s = histogram("twinserve_request_seconds", "Time to answer a request", ("route",), _REQUEST_S)
        self._refused = counter("twinserve_refused", "Requests and items refused, by error code", ("code",))
        self._prepare_s = histogram("twinserve_prepare_seconds", "Decoding and preparing an item", ("model",), _STEP_S)
        self._queue_s = histogram("twinserve_queue_seconds", "Wait of an item for a batch", ("model",), _STEP_S)
        self._batch_items = histogram("twinserve_batch_items", "Items in a batch", ("model",), _ITEMS)
        self._inference_s = histogram("twinserve_inference_seconds", "Running a batch", ("model",), _STEP_S)
        self._verdicts = counter("twinserve_verdicts", "Comparisons judged", ("model", "operating_point", "verdict"))
        self._unrecorded = Counter(
            "twinserve_unrecorded", "Verdicts whose record could not be written", registry=registry
        )
        trial = ("model", "candidate")
        self._shadow_pairs = counter("twinserve_shadow_pairs", "Comparisons judged by a version on trial too", trial)
        self._shadow_flips = counter(
            "twinserve_shadow_flips", "Those of them with another verdict", (*trial, "from", "to")
        )
        self._shadow_matches = counter("twinserve_shadow_matches", "Those of them that match", (*trial, "by"))
        self._shadow_dropped = counter("twinserve_shadow_dropped", "Comparisons dropped under load", trial)
        self._scores = Scores()

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

    def scored(self, model: str, score: float) -> None:
        """Count one score of a pair, where the model's scores are watched."""
        self._scores.count(model, score)

    def unrecorded(self, records: int) -> None:
        """Count verdicts that are on no record."""
        self._unrecorded.inc(records)

    def watch_scores(self, model: str, edges: Sequence[float]) -> None:
        """Count the scores of `model` from now on, between these rising bounds, which one model never changes."""
        self._scores.watch(model, edges)

    def exposition(self) -> tuple[bytes, str]:
        """Return what /metrics answers, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
