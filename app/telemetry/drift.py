"""Drift as metrics: the served scores of about a day, of all workers together, beside each model's calibration.

Counters only grow, so a day of them is what they are now less what they were then. Whoever answers a scrape writes down
the sums once an hour, in the folder that all processes share; how drift is measured is app/core/evidence/drift.py's.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from app.core.evidence import Calibration, measure_drift, score_edges
from app.telemetry.scores import SCORES

HOUR_S = 3600
HOURS = 24


class Drift:
    """Gauges that follow from the sum of the scores. `calibrations` are those of the models now served, by model.

    `folder` holds the hourly sums, {model: counts}; without one, everything since the start counts.
    """

    def __init__(
        self,
        calibrations: Callable[[], Mapping[str, Calibration]],
        *,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._calibrations = calibrations
        self._folder = folder
        self._clock = clock

    def beside(self, family: Metric) -> Iterable[Metric]:
        """Yield the gauges that belong beside this family: none but beside the scores."""
        if family.name != SCORES:
            return
        index = GaugeMetricFamily(
            "twinserve_score_drift",
            "Population stability index of a day's scores against the best mixture of the calibration's",
            labels=("model",),
        )
        share = GaugeMetricFamily(
            "twinserve_score_match_share", "Share of matching pairs that fits a day's scores best", labels=("model",)
        )
        seen = GaugeMetricFamily("twinserve_score_window", "Scores of that day", labels=("model",))
        calibrations = self._calibrations()
        counts = {
            model: found
            for model, calibration in calibrations.items()
            if (found := _counts(family, model, score_edges(calibration))) is not None
        }
        before = self._a_day_ago(counts)
        for model, now in counts.items():
            then = before.get(model, [0.0] * len(now))
            fresh = [max(0.0, new - old) for new, old in zip(now, then, strict=True)]
            seen.add_metric((model,), sum(fresh))
            drift = measure_drift(calibrations[model], fresh)
            if drift is not None:
                index.add_metric((model,), drift.stability_index)
                share.add_metric((model,), drift.match_share)
        yield from (index, share, seen)

    def _a_day_ago(self, counts: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
        """The sums of a day ago or somewhat earlier, after this hour's are written down; none in the first day."""
        if self._folder is None:
            return {}
        hour = int(self._clock() // HOUR_S)
        with contextlib.suppress(OSError):  # a full disk must not take the metrics along that tell of it
            self._folder.mkdir(exist_ok=True)
            file = self._folder / f"{hour}.json"
            if not file.exists():
                written = file.with_suffix(f".{time.monotonic_ns()}")  # two processes may be asked at once
                try:
                    written.write_text(json.dumps(counts))
                    written.replace(file)
                finally:
                    written.unlink(missing_ok=True)  # the part that found room, or nothing
        kept = sorted((int(one.stem), one) for one in self._folder.glob("*.json"))
        past = [one for when, one in kept if when <= hour - HOURS]
        for old in past[:-2]:  # the last but one may be in use by a process that was asked an hour ago
            old.unlink(missing_ok=True)
        # Without any the service is younger than a day, and everything counts; so it does where one has just gone.
        before: Mapping[str, Sequence[float]] = {}
        with contextlib.suppress(OSError):
            before = json.loads(past[-1].read_text()) if past else {}
        return before


def _counts(family: Metric, model: str, edges: Sequence[float]) -> list[float] | None:
    """Scores by bin, below the first edge, between, above the last; None where the bins are not those of the edges."""
    upper = {
        float(sample.labels["le"]): sample.value
        for sample in family.samples
        if sample.name == f"{SCORES}_bucket" and sample.labels["model"] == model
    }
    bounds = sorted(upper)
    if bounds != [*edges, float("inf")]:
        return None
    below = [0.0, *(upper[bound] for bound in bounds[:-1])]
    return [upper[bound] - less for bound, less in zip(bounds, below, strict=True)]
