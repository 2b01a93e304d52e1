"""/metrics on a port of its own, which the supervisor serves itself. Counts nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings
from app.supervisor.fleet import Fleet
from app.supervisor.listening import url

if TYPE_CHECKING:
    from app.core.evidence import Calibration
    from app.telemetry import ModelFacts


class MetricsPortError(Exception):
    """The metrics port cannot be had."""


@contextlib.contextmanager
def metrics_port(settings: Settings, folder: Path, fleet: Fleet, say: Callable[[str], object]) -> Iterator[None]:
    """Serve the sum over all files in `folder` meanwhile, where settings name a port; raises MetricsPortError."""
    if settings.metrics_port is None:
        yield
        return
    # Only this setting has the supervisor load them before its workers start.
    import prometheus_client  # noqa: PLC0415

    from app.telemetry import Drift, States, facts_of, shared_registry  # noqa: PLC0415

    def facts() -> list[ModelFacts]:
        return [facts_of(bundle, provider) for bundle, provider in fleet.serving()]

    def calibrations() -> dict[str, Calibration]:
        return {one.key: one.calibration for one, _ in fleet.serving() if one.calibration is not None}

    states = States(fleet.counts, restarts=fleet.restarts, models=facts)
    registry = shared_registry(folder, states=states, drift=Drift(calibrations, folder=folder / "scores"))
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
