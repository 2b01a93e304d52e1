"""Keys of the running service: read at the start, put in force by SIGHUP, and never seen in what the service says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from app.access import make_entry
from app.settings import Settings
from app.supervisor import serve
from app.supervisor.commands import ask_to_reload
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for

pytestmark = [pytest.mark.usefixtures("signals_restored"), pytest.mark.timeout(300)]


def status(service: LiveService, secret: str) -> int:
    answer = httpx.get(f"{service.url}/models", headers={"X-API-Key": secret}, timeout=DEADLINE_S)
    return answer.status_code


def test_keys_are_in_force_from_the_start_and_a_hangup_puts_new_ones_in_force(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    old, old_entry = make_entry("old", ["compare"])
    new, new_entry = make_entry("new", ["compare", "admin"])
    file.write_text(old_entry)
    with live_service(uncalibrated_models, keys_file=file, workers=2, log_level="debug") as service:
        wait_for("readiness", lambda: service.get("/health/ready").status_code == 200)
        wait_for("both workers", lambda: len(service.worker_pids()) == 2)
        assert service.said(r"listening on \S+ \(keys in force: 1\)")
        assert (status(service, old), status(service, new)) == (200, 401)
        assert service.get("/models").status_code == 401

        file.write_text(new_entry + "scope = 1\n")
        service.process.send_signal(signal.SIGHUP)
        wait_for(
            "refusal",
            lambda: service.said("is not used: key 1, scope: this field is not known; the keys in force stay"),
        )
        assert (status(service, old), status(service, new)) == (200, 401)

        file.write_text(new_entry)
        service.process.send_signal(signal.SIGHUP)
        wait_for("new keys", lambda: service.said("serve: keys in force: 1"))
        wait_for("both workers to hear", lambda: {status(service, new) for _ in range(6)} == {200})
        assert {status(service, old) for _ in range(6)} == {401}
        metrics = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {new}"}, timeout=DEADLINE_S)
        assert metrics.status_code == 200

        os.kill(service.worker_pids()[0], signal.SIGKILL)  # a successor starts with the keys of now
        wait_for("the death", lambda: service.said("killed by SIGKILL"))
        wait_for("its successor", lambda: len(service.worker_pids()) == 2)
        assert {status(service, new) for _ in range(6)} == {200}
        assert {status(service, old) for _ in range(6)} == {401}

        service.process.terminate()
        assert service.wait_exit() == 0
    said = "\n".join(service.lines)
    assert '"key":"new"' in said
    for secret in (old, new):
        assert secret not in said
        assert secret.removeprefix("tws_") not in said


def test_reload_takes_new_keys_and_says_so_and_a_bad_file_leaves_those_in_force(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, state = tmp_path / "keys.toml", tmp_path / "state"
    old, old_entry = make_entry("old", ["compare"])
    new, new_entry = make_entry("new", ["compare"])
    file.write_text(old_entry)
    with live_service(uncalibrated_models, keys_file=file, workers=2, state_dir=state) as service:
        wait_for("readiness", lambda: service.get("/health/ready").status_code == 200)
        file.write_text(new_entry)
        assert ask_to_reload(state) == 0
        assert [(status(service, old), status(service, new)) for _ in range(4)] == [(401, 200)] * 4
        assert capsys.readouterr().out == "keys in force: 1\nno model has changed\n"
        file.write_text("key = 1")
        assert ask_to_reload(state) == 3
        assert "the keys in force stay\n" in capsys.readouterr().out
        assert status(service, new) == 200


def test_hangup_of_the_whole_group_ends_no_worker(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models) as service:
        service.wait_ready(1)
        workers = service.worker_pids()
        for pid in (service.process.pid, *workers):
            os.kill(pid, signal.SIGHUP)
        assert service.get("/models").status_code == 200
        assert service.worker_pids() == workers


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not used: key: this field is missing"),
        (b"\xff", "is not used: it is not UTF-8"),
        (b"#" * 70_000, "is not used: it is larger than 65536 bytes"),
    ],
)
def test_start_with_a_bad_file_is_exit_2_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    file = tmp_path / "keys.toml"
    if content is not None:
        file.write_bytes(content)
    assert serve(Settings(models=tmp_path, port=0, keys_file=file)) == 2
    assert capsys.readouterr().err == f"twinserve: the file of keys {file} {said}\n"
