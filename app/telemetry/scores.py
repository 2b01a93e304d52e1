"""Served scores, counted in the bins of each model's calibration. One metric; each model has bounds of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import Histogram, Metric
from prometheus_client.registry import Collector

SCORES = "twinserve_score"


class Scores(Collector):
    """Counts scores by model. A model that was never given edges, as one without evidence, is not counted."""

    def __init__(self) -> None:
        self._histograms: list[Histogram] = []
        self._observe: dict[str, Callable[[float], None]] = {}

    def watch(self, model: str, edges: Sequence[float]) -> None:
        """Count the scores of `model` from now on, between these rising bounds; once told, told for good."""
        if model not in self._observe:
            histogram = Histogram(SCORES, "Scores of pairs", ("model",), registry=None, buckets=edges)
            self._histograms.append(histogram)
            self._observe[model] = histogram.labels(model).observe

    def count(self, model: str, score: float) -> None:
        """Count one score."""
        observe = self._observe.get(model)
        if observe is not None:
            observe(score)

    def collect(self) -> Iterable[Metric]:
        """Yield the one family; for a process that counts for itself alone."""
        family = Metric(SCORES, "Scores of pairs", "histogram")
        for histogram in self._histograms:
            for part in histogram.collect():
                family.samples.extend(part.samples)
        yield family
