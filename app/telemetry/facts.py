"""What is known rather than counted: what runs, which models it serves on what, and how its workers are."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from app import __version__
from app.core.bundle import Bundle

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
"""The distributions that bring the engine; one of them is installed."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One served bundle as a metric tells it. `model` is name@version, `calibration` its id or empty."""

    model: str
    fingerprint: str
    precision: str
    calibration: str
    provider: str


def facts_of(bundle: Bundle, provider: str) -> ModelFacts:
    """The facts of a bundle that is served on this provider."""
    calibration = "" if bundle.calibration is None else bundle.calibration.id
    return ModelFacts(bundle.key, bundle.fingerprint, bundle.manifest.graph.precision, calibration, provider)


class States(Collector):
    """Builds the gauges anew at each look; each argument tells how things are now."""

    def __init__(
        self,
        workers: Callable[[], Mapping[str, int]],
        *,
        restarts: Callable[[], int] = lambda: 0,
        models: Callable[[], Iterable[ModelFacts]] = lambda: (),
    ) -> None:
        self._workers = workers
        self._restarts = restarts
        self._models = models
        self._build = {
            "version": __version__,
            "python": platform.python_version(),
            "onnxruntime": next((found for name in RUNTIMES if (found := _installed(name))), ""),
        }

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges as they are now."""
        build = GaugeMetricFamily("twinserve_build_info", "The service that runs; always 1", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build
        workers = GaugeMetricFamily("twinserve_workers", "Worker processes, by state", labels=("state",))
        for state, count in self._workers().items():
            workers.add_metric((state,), count)
        yield workers
        yield CounterMetricFamily(
            "twinserve_worker_restarts", "Worker processes started in place of one that died", value=self._restarts()
        )
        names = list(ModelFacts.__dataclass_fields__)
        models = GaugeMetricFamily("twinserve_model_info", "A served model; always 1", labels=names)
        for facts in self._models():
            models.add_metric(list(asdict(facts).values()), 1)
        yield models


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
