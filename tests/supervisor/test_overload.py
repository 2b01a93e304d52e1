"""More requests than the service can do: refused soon, some of them unread, never where they ask how it is."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for

pytestmark = pytest.mark.timeout(300)

CALLERS = 16
PAIR = {"a": picture(1, 0), "b": picture(1, 1)}


def ask_on_and_on(service: LiveService, enough: threading.Event, answers: list[httpx.Response]) -> None:
    with httpx.Client(base_url=service.url, timeout=DEADLINE_S) as client:
        while not enough.is_set():
            answers.append(client.post("/v1/compare", json=PAIR))


def test_a_burst_is_refused_with_word_when_to_come_again_and_leaves_nothing_behind(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, queue_ms=0.001) as service:  # one at a time, and nobody waits
        service.wait_ready(1)
        enough = threading.Event()
        answers: list[httpx.Response] = []
        callers = [
            threading.Thread(target=ask_on_and_on, args=(service, enough, answers), daemon=True) for _ in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        try:
            wait_for("a request turned away unread", lambda: service.said(r'"route":"unmatched","status":429'))
            for path in ("/health/live", "/health/ready", "/metrics", "/models"):
                assert service.get(path).status_code == 200
        finally:
            enough.set()
            for caller in callers:
                caller.join(DEADLINE_S)
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert all(answer.json()["request_id"] == answer.headers["x-request-id"] for answer in refused)
        assert service.metric('twinserve_refused_total{code="overloaded"}') == len(refused)
        with httpx.Client(base_url=service.url, timeout=DEADLINE_S) as client:
            assert {client.post("/v1/compare", json=PAIR).status_code for _ in range(50)} == {200}
