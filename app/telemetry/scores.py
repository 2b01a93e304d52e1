"""Served scores, counted in the bins of each model's calibration. One metric; each model has bounds of its own.

The library's own histogram has one set of bounds for all label values, looks for a bin from the first on, and keeps a
sum, which means nothing of scores below 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import prometheus_client.values
from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SCORES = "twinserve_score"
MEANING = "Scores of pairs"


class Scores(Collector):
    """Counts scores by model. A model that was never given edges, as one without evidence, is not counted."""

    def __init__(self) -> None:
        self._bins: dict[str, tuple[tuple[float, ...], list[Any]]] = {}

    def watch(self, model: str, edges: Sequence[float]) -> None:
        """Count the scores of `model` from now on, between these rising bounds: a reload may bring others."""
        bounds = (*edges, float("inf"))
        if model in self._bins and self._bins[model][0] == bounds:
            return
        make = prometheus_client.values.ValueClass  # this process's memory, or the files of its slot
        names = (SCORES, f"{SCORES}_bucket", ("model", "le"))
        values = [make("histogram", *names, (model, _show(bound)), MEANING) for bound in bounds]
        self._bins[model] = bounds, values

    def count(self, model: str, score: float) -> None:
        """Count one score."""
        found = self._bins.get(model)
        if found is not None:
            bounds, values = found
            values[bisect_left(bounds, score)].inc(1)

    def collect(self) -> Iterable[Metric]:
        """Yield the one family; for a process that counts for itself alone."""
        family = HistogramMetricFamily(SCORES, MEANING, labels=("model",))
        for model, (bounds, values) in self._bins.items():
            total, buckets = 0.0, []
            for bound, value in zip(bounds, values, strict=True):
                total += value.get()
                buckets.append((_show(bound), total))
            family.add_metric((model,), buckets, sum_value=None)
        yield family


def _show(bound: float) -> str:
    """A bound as the library shows those of its own histograms."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
