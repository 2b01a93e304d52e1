"""The sum over worker processes, which count into small memory-mapped files, one set a worker slot. Counts nothing.

A worker that takes over a slot goes on counting in the files of the one before, so a sum never falls while the service
runs, and the number of files stays bounded however often workers are replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.telemetry.drift import Drift
from app.telemetry.facts import States


def shared_registry(folder: Path, *, states: Collector | None = None, drift: Drift | None = None) -> CollectorRegistry:
    """Return a registry that shows the sum over all slots in `folder`. It can be made in any process."""
    registry = CollectorRegistry()
    registry.register(_SumOfSlots(folder, drift))
    registry.register(states or States(dict))
    return registry


class _SumOfSlots(Collector):
    """Every slot's files in a folder, summed, and what follows from the sum of the scores."""

    def __init__(self, folder: Path, drift: Drift | None) -> None:
        self._folder = folder
        self._drift = drift

    def collect(self) -> Iterable[Metric]:
        # A file is empty for the instant between its creation and its first growth; the library cannot read it then.
        files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for family in merged:
            yield family
            if self._drift is not None:
                yield from self._drift.beside(family)
