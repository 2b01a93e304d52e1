"""What the kernel, the runtime and the use cases report while they work. No metrics library and no logging here.

telemetry.py implements Observer with counters and histograms; NullObserver is for offline use and for tests. Times
are in seconds. `model` is always the full key, name@version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Receives events. Called on the hot path and from the event loop: implementations must not block or raise."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """One HTTP request was answered; `route` is the template, never the path that the client sent."""

    def refused(self, code: str) -> None:
        """A request, or one item of it, was refused with this error code."""

    def prepared(self, model: str, seconds: float) -> None:
        """One item was decoded and prepared."""

    def queued(self, model: str, seconds: float) -> None:
        """One item left the queue for a batch after this wait."""

    def batch(self, model: str, items: int, seconds: float) -> None:
        """One batch ran, in this time."""

    def verdict(self, model: str, operating_point: str, verdict: str) -> None:
        """One comparison was judged."""

    def shadowed(self, model: str, candidate: str, verdict: str, candidate_verdict: str) -> None:
        """A comparison was judged once more by a version on trial; `error` where that one could not."""

    def shadow_dropped(self, model: str, candidate: str) -> None:
        """A comparison that a version on trial was to judge was dropped, under load."""


class NullObserver:
    """Ignores every event."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """Ignore."""

    def refused(self, code: str) -> None:
        """Ignore."""

    def prepared(self, model: str, seconds: float) -> None:
        """Ignore."""

    def queued(self, model: str, seconds: float) -> None:
        """Ignore."""

    def batch(self, model: str, items: int, seconds: float) -> None:
        """Ignore."""

    def verdict(self, model: str, operating_point: str, verdict: str) -> None:
        """Ignore."""

    def shadowed(self, model: str, candidate: str, verdict: str, candidate_verdict: str) -> None:
        """Ignore."""

    def shadow_dropped(self, model: str, candidate: str) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether one bundle is served, and if not, why, in one line."""

    ready: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the service is ready, and each bundle's own state under its key name@version."""

    ready: bool
    models: Mapping[str, ModelState]
