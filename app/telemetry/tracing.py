"""Whether traces are exported: what the environment asks for, and what stands in the way. Spans are spans.py's.

OpenTelemetry's own variables decide: whoever runs collectors sets them for all services alike, and a name of ours
would be a second truth. Nothing of its libraries is imported unless they do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from app.core.observe import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"

logger = logging.getLogger(__name__)


def tracer_of(environment: Mapping[str, str]) -> Tracer:
    """Return what traces requests: spans over OTLP where the environment names an endpoint, else nothing is exported.

    What keeps a service that was asked for traces from exporting them is one warning in the log: such variables are
    often set for a whole platform, and no reason not to serve.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or not any(environment.get(name) for name in ENDPOINTS):
        return Tracer()
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    protocol = next((found for name in PROTOCOLS if (found := environment.get(name))), SPOKEN)
    if exporter != "otlp" or protocol != SPOKEN:
        logger.warning("no traces are exported: otlp over %s is spoken, not %s over %s", SPOKEN, exporter, protocol)
        return Tracer()
    try:
        from app.telemetry.spans import SpanTracer, to_collector  # noqa: PLC0415
    except ImportError as error:
        logger.warning("no traces are exported: needs the package %r: install twinserve[otel]", error.name)
        return Tracer()
    return SpanTracer(to_collector())
