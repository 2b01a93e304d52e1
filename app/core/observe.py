"""What the kernel, the runtime and the use cases report while they work. No metrics library and no logging here.

app/telemetry implements Observer with counters and histograms, and Tracer with OpenTelemetry's spans; the null ones are
for offline use, for tests, and for a service that exports no traces. Times are in seconds. `model` is always the full
key, name@version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII)
"""The header of W3C Trace Context; what a version of its format yet to come may append is passed over."""


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

    def scored(self, model: str, score: float) -> None:
        """A pair of single items got this score."""

    def unrecorded(self, records: int) -> None:
        """So many verdicts could not be written to the file of decisions."""


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

    def scored(self, model: str, score: float) -> None:
        """Ignore."""

    def unrecorded(self, records: int) -> None:
        """Ignore."""


class Steps:
    """The steps of one request, each with its begin and end on the clock of time.perf_counter.

    Of several items, those of the one that was ready last: they follow one another without a gap.
    """

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken: list[tuple[str, float, float]] = []

    def took(self, name: str, began: float, ended: float) -> None:
        """Keep one step; `name` is prepare, queue, inference or scoring."""
        self.taken.append((name, began, ended))


class Trace:
    """One request's place in its trace; this one exports nothing. `trace_id` is for the log, None without a trace;
    `traceparent` goes back to the caller where spans are exported.
    """

    __slots__ = ("trace_id", "traceparent")

    def __init__(self, trace_id: str | None, traceparent: str | None = None) -> None:
        self.trace_id = trace_id
        self.traceparent = traceparent

    def end(self, route: str, status: int, request_id: str, steps: Steps) -> None:
        """The request is over."""


NO_TRACE = Trace(None)


def read_trace(headers: Mapping[str, str]) -> Trace:
    """The caller's trace as its header tells, exporting nothing; NO_TRACE without one, or for a header that is none."""
    given = headers.get("traceparent")
    found = None if given is None else TRACEPARENT.fullmatch(given)
    return NO_TRACE if found is None else Trace(found[1])


class Tracer:
    """Starts a trace for each request; this one only reads the id of the caller's trace."""

    def start(self, method: str, headers: Mapping[str, str]) -> Trace:
        """A request began, with these headers, whose names are found in lower case."""
        del method
        return read_trace(headers)

    def close(self) -> None:
        """Send what is still to be sent; may take seconds."""


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
