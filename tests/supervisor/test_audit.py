"""Decisions of a running service: each answered verdict is in a worker's file, whatever becomes of the worker."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.records import check, read_audit, read_public_key
from tests.records.test_signing import write_key
from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, live_service, wait_for_end

pytestmark = pytest.mark.timeout(300)

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}


def test_every_answered_verdict_is_in_a_file_after_a_killed_worker_and_a_stop(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    private, public = write_key(tmp_path)
    state = tmp_path / "state"
    settings: dict[str, Any] = {
        "audit": 1,
        "state_dir": state,
        "audit_file_bytes": 65_536,
        "record_key_file": private,
        "workers": 2,
    }
    answered: set[str] = set()

    def call(url: str, caller: int) -> None:
        with httpx.Client(base_url=url, timeout=DEADLINE_S) as client:
            for number in range(25):
                name = f"caller-{caller}-{number}"
                try:
                    answer = client.post("/compare", json=PAIR, headers={"x-request-id": name})
                except httpx.HTTPError:  # its worker was killed
                    continue
                if answer.status_code == 200:
                    answered.add(name)

    with live_service(uncalibrated_models, **settings) as service:
        service.wait_ready(2)
        with ThreadPoolExecutor(4) as callers:
            calls = [callers.submit(call, service.url, caller) for caller in range(4)]
            for one in calls[:2]:
                one.result()
            victim = service.worker_pids()[0]
            os.kill(victim, signal.SIGKILL)
            wait_for_end(victim)
            for one in calls:
                one.result()
        service.wait_ready(2)
        assert service.metric("twinserve_worker_restarts_total") == 1
        call(service.url, 4)
        service.process.terminate()
        assert service.wait_exit() == 0
    verify = read_public_key(public)
    files = sorted((state / "audit").iterdir())
    records = [check(json.loads(line), verify) for file in files for line in read_audit(file)]
    assert answered <= {record.request_id for record in records}
    assert len(answered) >= 75
    assert {file.name[:9] for file in files} == {"worker-0.", "worker-1."}
    assert any(file.name.endswith(".000001.jsonl") for file in files)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"audit": 1}, "needs TWINSERVE_STATE_DIR"),
        ({"record_key_file": "/nowhere/key.pem"}, "the key file cannot be read"),
    ],
)
def test_service_that_could_not_record_does_not_start(
    uncalibrated_models: Path, settings: dict[str, Any], said: str
) -> None:
    with live_service(uncalibrated_models, **settings) as service:
        assert service.wait_exit() == 2
        assert service.said(said)


def test_folder_that_cannot_be_written_stops_the_start(uncalibrated_models: Path, tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file in its place")
    with live_service(uncalibrated_models, audit=1, state_dir=tmp_path) as service:
        assert service.wait_exit() == 2
        assert service.said("verdicts cannot be recorded")
