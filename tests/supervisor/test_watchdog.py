"""An inference that never ends, for real: its caller gets an error, the others their answers, and the worker goes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.load import PAIRS, kept_busy, known_scores
from tests.serving import b64
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for, wait_for_end
from tests.supervisor.stuck import poison_png, write_stuck

pytestmark = pytest.mark.timeout(300)

ON_THE_LOOP, IN_A_THREAD = 1, 500_000
"""Rounds of the loop, by which a batch is expected to be fast, and runs on the event loop, or runs in a thread: on any
machine it takes longer than TWINSERVE_BATCH_MS then, and less than the watchdog waits."""


@pytest.mark.parametrize(
    ("rounds", "fault"),
    [(ON_THE_LOOP, "no sign of life for 2 s"), (IN_A_THREAD, "one batch has been running for 2 s")],
)
def test_worker_with_a_stuck_inference_is_replaced_while_the_other_answers(
    tmp_path: Path, rounds: int, fault: str
) -> None:
    write_stuck(tmp_path, rounds=rounds)
    with live_service(tmp_path, workers=2, watchdog_ms=2000) as service:
        service.wait_ready(2)
        scores = known_scores(service.url)
        with kept_busy(service.url, scores, callers=4, timeout_s=DEADLINE_S, pause_s=0.01) as tally:
            poison = {"a": {"base64": b64(poison_png())}, "b": PAIRS[0]["b"]}
            with pytest.raises(httpx.TransportError) as broken:
                httpx.post(f"{service.url}/compare", json=poison, timeout=DEADLINE_S)
            assert not isinstance(broken.value, httpx.TimeoutException)
            wait_for("the reason", lambda: service.said(rf"worker \d \(pid \d+\) hangs and is killed: {fault}"))
            service.wait_ready(2)
            before = tally.right
            wait_for("further answers", lambda: tally.right > before + 20)
    assert not tally.wrong
    assert not tally.hung
    assert tally.broken.total() <= 4, "only what was under way in that worker fails"
    assert not tally.errors


def stop_and_go_on(service: LiveService, seconds: float) -> None:
    """Stop every process of the service for a while, as a machine that sleeps does; the supervisor wakes first."""
    everyone = [service.process.pid, *service.worker_pids()]
    for pid in reversed(everyone):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in everyone:
        os.kill(pid, signal.SIGCONT)


def test_service_that_was_stopped_for_longer_than_the_watchdog_waits_goes_on_with_the_same_workers(
    uncalibrated_models: Path,
) -> None:
    with live_service(uncalibrated_models, workers=2, watchdog_ms=1000) as service:
        service.wait_ready(2)
        workers = service.worker_pids()
        for _ in range(3):
            stop_and_go_on(service, 1.5)
            assert service.get("/health/ready").status_code == 200
        time.sleep(1.5)  # time for a watchdog that holds the pause against them
        assert service.worker_pids() == workers
        assert not service.said("hangs")


def test_service_is_not_ready_while_its_only_worker_hangs_and_is_again_with_the_next(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, watchdog_ms=2000, metrics_port=0) as service:
        metrics = wait_for("metrics line", lambda: service.said(r"metrics on (\S+)")).group(1)

        def ready_workers(count: int) -> bool:
            return f'twinserve_workers{{state="ready"}} {count}.0' in httpx.get(metrics, timeout=DEADLINE_S).text

        wait_for("readiness", lambda: ready_workers(1))
        [worker] = service.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        wait_for("no ready worker", lambda: ready_workers(0))
        assert service.said("not ready")
        asked = httpx.get(f"{service.url}/health/live", timeout=DEADLINE_S)  # waits for the next worker
        assert asked.status_code == 200
        wait_for_end(worker)
        wait_for("readiness", lambda: ready_workers(1))
        assert service.get("/health/ready").status_code == 200
