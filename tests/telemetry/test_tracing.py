"""Spans of a request, in the caller's trace, over OpenTelemetry's own protocol; nothing of it where nobody asks."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.core.observe import Steps, Tracer
from app.runtime.registry import Registry
from app.telemetry.spans import CLOSE_S, SpanTracer
from app.telemetry.tracing import tracer_of
from tests.serving import client_of, load, make_app, picture
from tests.supervisor.live import DEADLINE_S, live_service, wait_for
from tests.tiny import make_tiny

pytestmark = pytest.mark.anyio

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
STEPS = ["queue", "prepare", "inference", "scoring"]


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


class Traced:
    """The application with spans kept in memory."""

    def __init__(self, registry: Registry) -> None:
        self.exported = InMemorySpanExporter()
        self.app = make_app(registry, tracer=SpanTracer(SimpleSpanProcessor(self.exported)))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exported.get_finished_spans()}


async def test_each_step_is_a_span_below_the_requests_in_the_callers_trace(tiny: Registry) -> None:
    traced = Traced(tiny)
    before = time.time_ns()
    async with client_of(traced.app) as client:
        answer = await client.post("/v1/compare", json=PAIR, headers={**GIVEN, "x-request-id": "mine"})
    after = time.time_ns()
    spans = traced.spans()
    request = spans.pop("POST /compare")
    assert list(spans) == STEPS
    assert request.kind is SpanKind.SERVER
    assert request.parent is not None
    assert (f"{request.parent.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert request.context is not None
    assert request.context.trace_state == {"vendor": "1"}
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/compare",
        "http.response.status_code": 200,
        "twinserve.request_id": "mine",
    }
    edges = [before]
    for span in spans.values():
        assert span.parent == request.context
        assert span.start_time is not None
        assert span.end_time is not None
        edges += [span.start_time, span.end_time]
    slack_ns = 1_000_000  # the two clocks are read one after the other
    assert all(earlier <= later + slack_ns for earlier, later in zip(edges, [*edges[1:], after], strict=True))
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.context.span_id:016x}-01"
    assert request.resource.attributes["service.name"] == "twinserve"


async def test_a_request_without_a_trace_begins_one(tiny: Registry) -> None:
    traced = Traced(tiny)
    async with client_of(traced.app) as client:
        for given in ({}, {"traceparent": f"00-{'0' * 32}-{PARENT}-01"}):
            answer = await client.get("/models", headers=given)
            span = traced.spans()["GET /models"]
            assert span.parent is None
            assert span.context is not None
            assert answer.headers["traceparent"].startswith(f"00-{span.context.trace_id:032x}-")
            traced.exported.clear()


async def test_trace_that_its_caller_does_not_sample_is_passed_on_and_not_exported(tiny: Registry) -> None:
    traced = Traced(tiny)
    async with client_of(traced.app) as client:
        answer = await client.post("/compare", json=PAIR, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert traced.spans() == {}
    assert answer.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert answer.headers["traceparent"].endswith("-00")


async def test_probes_and_metrics_are_not_traced(tiny: Registry) -> None:
    traced = Traced(tiny)
    async with client_of(traced.app) as client:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert "traceparent" not in (await client.get(path, headers=GIVEN)).headers
    assert traced.spans() == {}


async def test_refusal_is_traced_and_only_a_fault_of_the_service_is_an_error(tiny: Registry) -> None:
    traced = Traced(tiny)
    async with client_of(traced.app) as client:
        assert (await client.post("/compare", json={"a": {"base64": "AAAA"}, "b": PAIR["b"]})).status_code == 422
    refused = traced.spans()["POST /compare"]
    assert refused.status.status_code is StatusCode.UNSET
    broken = Traced(tiny)

    def fail() -> Registry:
        raise ValueError("broken")

    broken.app = make_app(fail, tracer=SpanTracer(SimpleSpanProcessor(broken.exported)))
    async with client_of(broken.app) as client:
        assert (await client.post("/compare", json=PAIR)).status_code == 500
    assert broken.spans()["POST /compare"].status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"traceparent": f"00-{TRACE}-{PARENT}-01"}, TRACE),
        ({"traceparent": f"cc-{TRACE}-{PARENT}-01-later"}, TRACE),
        ({"traceparent": f"ff-{TRACE}-{PARENT}-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-{PARENT}-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-{PARENT}-01"}, None),
        ({"traceparent": 'x" y'}, None),
        ({}, None),
    ],
)
async def test_without_export_the_callers_trace_is_in_the_log_line_and_no_header_goes_out(
    tiny: Registry, caplog: pytest.LogCaptureFixture, given: dict[str, str], said: str | None
) -> None:
    caplog.set_level(logging.INFO, "app.api.door")
    async with client_of(make_app(tiny)) as client:
        answer = await client.post("/compare", json=PAIR, headers=given)
    assert "traceparent" not in answer.headers
    [line] = [record.__dict__ for record in caplog.records if record.message == "request"]
    assert line.get("trace_id") == said


async def test_exported_trace_is_in_the_log_line_too(tiny: Registry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.api.door")
    async with client_of(Traced(tiny).app) as client:
        await client.post("/compare", json=PAIR, headers=GIVEN)
    assert [record.__dict__["trace_id"] for record in caplog.records if record.message == "request"] == [TRACE]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_nothing_is_exported_unless_asked_for(environment: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    assert type(tracer_of(environment)) is Tracer
    assert not caplog.records


@pytest.mark.parametrize("more", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_TRACES_EXPORTER": "zipkin"}], ids=min)
def test_what_is_not_spoken_is_told(more: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    tracer = tracer_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", **more})
    assert type(tracer) is Tracer
    assert "no traces are exported" in caplog.text


def test_missing_package_is_told_and_without_an_endpoint_none_is_imported() -> None:
    code = (
        "import sys, logging; logging.basicConfig(); from app.telemetry import tracer_of; tracer_of({});"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules);"
        "sys.modules['opentelemetry.sdk.resources'] = None;"
        "tracer_of({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:4318'})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "install twinserve[otel]" in run.stderr


@contextmanager
def collector(received: list[SentSpan]) -> Iterator[str]:
    """A receiver of OTLP over HTTP on the loopback; its address."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            message = ExportTraceServiceRequest.FromString(body)
            assert self.path == "/v1/traces"
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    received.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.timeout(300)
def test_running_service_sends_its_spans_to_a_collector_the_last_ones_at_its_stop(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[SentSpan] = []
    with collector(received) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")  # so that what arrives is what a stop sends
        with live_service(uncalibrated_models) as service:
            service.wait_ready(1)
            answer = httpx.post(f"{service.url}/compare", json=PAIR, headers=GIVEN, timeout=DEADLINE_S)
            assert answer.status_code == 200
            line = json.loads(wait_for("log line", lambda: service.said(TRACE)).string)
            service.process.terminate()
            assert service.wait_exit() == 0
        wait_for("spans", lambda: len(received) >= 5)
    assert line["trace_id"] == TRACE
    by_name = {span.name: span for span in received}
    assert set(by_name) == {"POST /compare", *STEPS}
    assert {span.trace_id.hex() for span in received} == {TRACE}
    assert by_name["POST /compare"].parent_span_id.hex() == PARENT
    assert {by_name[step].parent_span_id for step in STEPS} == {by_name["POST /compare"].span_id}


def test_a_collector_that_does_not_answer_holds_no_stop_up() -> None:
    class Stuck(InMemorySpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            released.wait(60)
            return super().export(spans)

    released = threading.Event()
    tracer = SpanTracer(BatchSpanProcessor(Stuck()))
    tracer.start("GET", {}).end("/models", 200, "mine", Steps())
    began = time.monotonic()
    tracer.close()
    assert time.monotonic() - began < CLOSE_S + 10
    released.set()
