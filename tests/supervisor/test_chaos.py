"""Everything that can go wrong, under load: no wrong answer, none lost without an error, no hang, and all heals.

TWINSERVE_LONG=1 python -m pytest tests/supervisor/test_chaos.py -s    does it again and again, in any order.
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONG
from tests.load import Tally, kept_busy, known_scores
from tests.supervisor.faults import FAULTS, HEAD_OF_A_BODY, JUMPING_CLOCK, Dribble, Scene
from tests.supervisor.live import LiveService, live_service, wait_for
from tests.tiny import write_tiny

pytestmark = pytest.mark.timeout(3600 if LONG else 600)

ROUNDS = 20 if LONG else 1
CALLERS = 6
LONGEST_S = 30.0
"""Without an answer or an error for so long, a request counts as hung: all time limits of the service are below it."""
CONNECTIONS = 10_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system of two megabytes; None where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "twinserve-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_faults_under_load_cost_only_what_was_under_way(tmp_path: Path, small_disk: Path | None) -> None:
    models, clock = tmp_path / "models", tmp_path / "clock"
    write_tiny(models, calibrated=False)
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(JUMPING_CLOCK)
    settings: dict[str, object] = {"workers": 2, "watchdog_ms": 2000, "request_timeout_ms": 5000, "drain_ms": 6000}
    if small_disk is not None:
        settings["state_dir"] = small_disk
    with live_service(models, clock, **settings) as service:
        scene = Scene(service, models, small_disk)
        scene.wait_healed()
        scores = known_scores(service.url)
        with kept_busy(service.url, scores, callers=CALLERS, timeout_s=LONGEST_S, pause_s=0.002) as tally:
            for _ in range(ROUNDS):
                for fault in random.sample(FAULTS, len(FAULTS)) if LONG else FAULTS:
                    fault(scene)
                    scene.wait_healed()
                    wait_for("further answers", functools.partial(has_answers, tally, tally.right + 10))
                    print(f"{fault.__name__}: {tally}")
        deaths = len([line for line in service.lines if re.search(r"the next one starts in", line)])
    print(f"{deaths} workers died, {tally}")
    assert not tally.wrong
    assert not tally.hung
    assert set(tally.errors) <= {"500 internal", "503 not_ready", "504 deadline_exceeded"}, tally
    assert tally.broken.total() <= deaths * CALLERS, tally
    assert tally.right > 20 * (tally.broken.total() + tally.errors.total())


def has_answers(tally: Tally, count: int) -> bool:
    return tally.right >= count


def test_ten_thousand_idle_and_two_slow_clients_leave_the_service_to_others(uncalibrated_models: Path) -> None:
    allow_descriptors(CONNECTIONS + 1000)
    with (
        live_service(uncalibrated_models, workers=2, request_timeout_ms=5000) as service,
        contextlib.ExitStack() as idle,
    ):
        service.wait_ready(2)
        before, threads = memory_kib(service), threads_of(service)
        slow = [Dribble(service.port, b"GET /", b"a" * 200), Dribble(service.port, HEAD_OF_A_BODY % 300, b" " * 200)]
        for _ in range(CONNECTIONS):
            idle.enter_context(connect(service))
        wait_for("all to be taken", lambda: sum(service.connections_by_worker().values()) >= CONNECTIONS)
        print(f"{(memory_kib(service) - before) / CONNECTIONS:.1f} KiB a connection, in all processes")
        scores = known_scores(service.url)
        with kept_busy(service.url, scores, callers=4, timeout_s=LONGEST_S) as tally:
            wait_for("answers", lambda: tally.right > 200)
        assert tally.right == tally.asked
        assert threads_of(service) == threads
        for client in slow:
            client.join(90)
            assert b"408 Request Timeout" in client.answer
            assert b'"client_timeout"' in client.answer
        assert min(service.connections_by_worker().values()) >= 0.4 * CONNECTIONS


def test_more_connections_than_may_be_held_leave_room_for_new_ones(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, workers=2, max_connections=50) as service, contextlib.ExitStack() as idle:
        service.wait_ready(2)
        for _ in range(300):
            idle.enter_context(connect(service))
        wait_for("the oldest to be closed", lambda: sum(service.connections_by_worker().values()) <= 100)
        for _ in range(20):
            assert service.get("/health/ready").status_code == 200


def connect(service: LiveService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60)


def allow_descriptors(count: int) -> None:
    """Let this process hold so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"this user may hold {hard} descriptors, and the test needs {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def threads_of(service: LiveService) -> list[int]:
    """How many threads each worker has."""
    return [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in service.worker_pids()]


def memory_kib(service: LiveService) -> int:
    """Memory of all processes of the service, shared pages counted once each."""
    return sum(
        int(found[1])
        for pid in (service.process.pid, *service.worker_pids())
        if (found := re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    )
