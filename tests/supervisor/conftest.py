"""One running service with two workers, shared by the tests that leave it as they found it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.live import LiveService, live_service


@pytest.fixture(scope="package")
def pair(uncalibrated_models: Path) -> Iterator[LiveService]:
    """A service with two ready workers."""
    with live_service(uncalibrated_models, workers=2) as service:
        service.first_statuses.append(service.get("/health/live").status_code)
        while service.first_statuses[-1] != 200 or len(service.first_statuses) == 1:
            service.first_statuses.append(service.get("/health/ready").status_code)
        service.wait_ready(2)
        yield service


@pytest.fixture
def signals_restored() -> Iterator[None]:
    """For tests that call serve in this process, which decides what signals mean."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
