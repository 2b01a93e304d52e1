"""What a start does side by side, and what callers see of it meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from tests.ports import lasting_port
from tests.supervisor.live import live_service, wait_for

pytestmark = pytest.mark.timeout(300)

SLOW_DISK = """
import pathlib, time
real = pathlib.Path.open
def slow(path, *arguments, **named):
    while path.name == "manifest.json" and not pathlib.Path({flag!r}).exists():
        time.sleep(0.01)
    return real(path, *arguments, **named)
pathlib.Path.open = slow
"""
"""Run first in every process of the service: no manifest can be read before the file `flag` is there."""


def get(port: int, path: str) -> httpx.Response | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=90)
    except httpx.TransportError:
        return None


def test_service_lives_and_is_not_ready_while_its_models_are_read(uncalibrated_models: Path, tmp_path: Path) -> None:
    flag, port = tmp_path / "disk-is-quick", lasting_port()
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK.format(flag=str(flag)))
    with live_service(uncalibrated_models, tmp_path, port=port) as service:
        live = wait_for("a worker", lambda: get(port, "/health/live"))
        assert live.status_code == 200
        ready = get(port, "/v1/health/ready")
        assert ready is not None
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "models": {}})
        answer = httpx.post(f"http://127.0.0.1:{port}/compare", json={"a": {"text": "x"}, "b": {"text": "y"}})
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert not service.said("listening on")
        flag.touch()
        service.wait_ready(1)
        assert service.get("/health/ready").json()["models"] == {"tiny@1.0.0": {"ready": True, "reason": None}}


def test_stop_while_models_are_read_serves_none_of_them_and_exits_0(uncalibrated_models: Path, tmp_path: Path) -> None:
    flag, port = tmp_path / "disk-is-quick", lasting_port()
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK.format(flag=str(flag)))
    with live_service(uncalibrated_models, tmp_path, port=port) as service:
        wait_for("a worker", lambda: get(port, "/health/live"))
        service.process.send_signal(signal.SIGTERM)
        wait_for("word of it", lambda: service.said("SIGTERM"))
        flag.touch()
        assert service.wait_exit() == 0
        assert not service.said("listening on")
