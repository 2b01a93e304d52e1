"""/metrics on a port of its own, which the supervisor serves itself. Counts nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import prometheus_client

from app.settings import Settings
from app.supervisor.listening import url
from app.telemetry import States, shared_registry


class MetricsPortError(Exception):
    """The metrics port cannot be had."""


@contextlib.contextmanager
def metrics_port(
    settings: Settings, folder: Path, workers: Callable[[], Mapping[str, int]], say: Callable[[str], object]
) -> Iterator[None]:
    """Serve the sum over all files in `folder` meanwhile, where settings name a port; raises MetricsPortError."""
    if settings.metrics_port is None:
        yield
        return
    registry = shared_registry(folder, states=States(workers))
    try:
        server, thread = prometheus_client.start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        raise MetricsPortError(
            f"cannot serve metrics on {settings.host} port {settings.metrics_port}: {error.strerror}"
        ) from error
    say(f"metrics on {url(server.socket)}/metrics")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
