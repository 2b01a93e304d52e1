"""Spans: one a request and one below it for each of its steps. The only module that imports OpenTelemetry.

Spans of steps are made when the request is over, from times that were taken anyway: none is handed through the
service, and its code is the same with traces and without.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping

from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.core.observe import Steps, Trace, Tracer

CLOSE_S = 1.5
"""How long a stop waits for a collector to take the last spans; the supervisor kills a worker that is 2 s late."""

PROPAGATOR = TraceContextTextMapPropagator()


def to_collector() -> SpanProcessor:
    """What sends spans in batches, from a thread, to where OpenTelemetry's variables say; a full queue drops spans."""
    return BatchSpanProcessor(OTLPSpanExporter())


class SpanTracer(Tracer):
    """Makes spans and gives them to `processor`. Which requests are sampled, OTEL_TRACES_SAMPLER says."""

    def __init__(self, processor: SpanProcessor) -> None:
        own = {"service.name": "twinserve", "service.version": __version__, "service.instance.id": uuid.uuid4().hex}
        said = OTELResourceDetector().detect().attributes  # what the environment says comes first
        self._provider = TracerProvider(resource=Resource.create({**own, **said}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("twinserve", __version__)

    def start(self, method: str, headers: Mapping[str, str]) -> Trace:
        """Start the request's span, below the caller's where the headers name one."""
        context = PROPAGATOR.extract(headers)
        span = self._tracer.start_span(
            method, context, kind=SpanKind.SERVER, attributes={"http.request.method": method}
        )
        return _SpanTrace(self._tracer, span, method)

    def close(self) -> None:
        """Send what is still to be sent, for CLOSE_S at the most: the exporter itself would try for half a minute."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


class _SpanTrace(Trace):
    """One request's span."""

    __slots__ = ("_ahead_ns", "_method", "_span", "_tracer")

    def __init__(self, tracer: otel.Tracer, span: otel.Span, method: str) -> None:
        context = span.get_span_context()
        trace_id = otel.format_trace_id(context.trace_id)
        super().__init__(trace_id, f"00-{trace_id}-{otel.format_span_id(context.span_id)}-{context.trace_flags:02x}")
        self._tracer, self._span, self._method = tracer, span, method
        self._ahead_ns = time.time_ns() - time.perf_counter_ns()  # from the clock of the steps to that of the world

    def end(self, route: str, status: int, request_id: str, steps: Steps) -> None:
        """End the span, after one below it for each step."""
        if self._span.is_recording():
            self._span.update_name(f"{self._method} {route}")
            self._span.set_attribute("http.route", route)
            self._span.set_attribute("http.response.status_code", status)
            self._span.set_attribute("twinserve.request_id", request_id)
            if status >= 500:
                self._span.set_status(Status(StatusCode.ERROR))
            inside = otel.set_span_in_context(self._span)
            for name, began, ended in steps.taken:
                self._tracer.start_span(name, inside, start_time=self._at(began)).end(self._at(ended))
        self._span.end()

    def _at(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._ahead_ns
