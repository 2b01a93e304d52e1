"""A reload under load loses no request and leaves no old answer behind; what is bad is refused and changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.supervisor.commands import ask_to_reload
from tests.serving import picture
from tests.supervisor.live import DEADLINE_S, is_worker, live_service, wait_for
from tests.supervisor.reloads import Changing, Clients, changing, start_reload
from tests.supervisor.test_catalogue import spoil
from tests.supervisor.test_refusals import write_other_golden

pytestmark = pytest.mark.timeout(300)


def test_reload_under_load_fails_no_request_and_no_later_one_sees_the_old_version(tmp_path: Path) -> None:
    with changing(tmp_path, workers=2, queue_ms=60_000) as live:
        clients = Clients(live.service.url, count=4)
        with clients.at_work():
            assert len([count for count in live.service.connections_by_worker().values() if count]) == 2
            for old, new in (("1.0.0", "1.1.0"), ("1.1.0", "1.2.0"), ("1.2.0", "2.0.0")):
                live.write(new)
                code, printed = live.reload()
                returned = time.monotonic()
                assert code == 0, printed
                assert f"added tiny@{new}\n" in printed
                assert f"tiny means tiny@{new}, no longer tiny@{old}\n" in printed
                clients.wait_for_more()
                assert {version for _, _, version in clients.since(returned)} == {new}
        assert {status for _, status, _ in clients.answers} == {200}
        assert {version for _, _, version in clients.answers} == {"1.0.0", "1.1.0", "1.2.0", "2.0.0"}
        assert live.version("tiny@1.0.0") == "1.0.0"


def test_bad_bundle_is_refused_with_its_reason_and_the_old_one_goes_on(tmp_path: Path) -> None:
    with changing(tmp_path, default_model="tiny") as live:
        spoil(live.write("1.1.0"))
        code, printed = live.reload()
        assert code == 3
        assert "refused tiny@1.1.0: model.onnx: " in printed
        assert "tiny goes on as tiny@1.0.0" in printed
        assert live.version() == "1.0.0"
        state = live.service.get("/health/ready").json()
        assert state["ready"]
        assert state["models"]["tiny@1.0.0"] == {"ready": True, "reason": None}
        assert not state["models"]["tiny@1.1.0"]["ready"]

        shutil.rmtree(live.models / "tiny" / "1.1.0")
        spoil(live.models / "tiny" / "1.0.0")  # what runs is spoilt where it came from
        code, printed = live.reload()
        assert code == 3
        assert "; the one that runs goes on" in printed
        assert live.version() == "1.0.0"
        state = live.service.get("/health/ready").json()["models"]
        assert list(state) == ["tiny@1.0.0"]
        assert state["tiny@1.0.0"]["ready"]
        assert state["tiny@1.0.0"]["reason"].startswith("model.onnx: ")

        shutil.rmtree(live.models / "tiny" / "1.0.0")
        live.write("1.0.0")
        assert live.reload() == (0, "no model has changed\n")


def test_golden_vectors_that_one_bundle_fails_do_not_stop_the_others(tmp_path: Path) -> None:
    with changing(tmp_path, workers=2) as live:
        write_other_golden(live.models, "other")
        live.write("1.0.0", name="second")
        code, printed = live.reload()
        assert code == 3
        assert "refused other@1.0.0: golden vectors" in printed
        assert "added second@1.0.0" in printed
        assert (live.version("second"), live.version("tiny")) == ("1.0.0", "1.0.0")
        assert live.compare("other").status_code == 404


def test_strict_takes_all_of_a_change_or_nothing(tmp_path: Path) -> None:
    with changing(tmp_path, strict_models=True) as live:
        write_other_golden(live.models, "other")
        live.write("1.1.0")
        code, printed = live.reload()
        assert code == 3
        assert "TWINSERVE_STRICT_MODELS is set; other@1.0.0: golden vectors" in printed
        assert "no model has changed" in printed
        assert live.version() == "1.0.0"
        assert live.compare("tiny@1.1.0").status_code == 404
        shutil.rmtree(live.models / "other")
        assert live.reload()[0] == 0
        assert live.version() == "1.1.0"


def test_alias_is_moved_and_one_that_would_mean_a_refused_bundle_stays(tmp_path: Path) -> None:
    with changing(tmp_path) as live:
        aliases = live.models / "aliases.toml"
        live.write("1.1.0")
        aliases.write_text('tiny = "tiny@1.0.0"\nbest = "tiny@1.1.0"\n')
        code, printed = live.reload()
        assert (code, "best means tiny@1.1.0\n" in printed) == (0, True)
        assert (live.version("tiny"), live.version("best")) == ("1.0.0", "1.1.0")

        spoil(live.write("1.2.0"))
        aliases.write_text('tiny = "tiny@1.1.0"\nbest = "tiny@1.2.0"\n')
        code, printed = live.reload()
        assert (code, "tiny means tiny@1.1.0, no longer tiny@1.0.0\n" in printed) == (3, True)
        assert (live.version("tiny"), live.version("best")) == ("1.1.0", "1.1.0")

        aliases.write_text("= 1")
        live.write("1.3.0")
        code, printed = live.reload()
        assert (code, printed) == (3, "refused: aliases.toml: cannot be read as TOML; no model has changed\n")
        assert live.compare("tiny@1.3.0").status_code == 404


def test_changed_fingerprint_is_announced_and_old_embeddings_are_refused_with_409(tmp_path: Path) -> None:
    with changing(tmp_path) as live:
        embed = {"model": "tiny", "inputs": [picture(1)]}
        answer = live.service.post("/embed", embed).json()
        embedded = {"embedding": answer["embeddings"][0], "fingerprint": answer["fingerprint"]}
        live.write("1.1.0")
        assert "fingerprint" not in live.reload()[1]
        assert live.compare(a=embedded).status_code == 200

        live.write_other("2.0.0")
        code, printed = live.reload()
        assert code == 0
        assert "its fingerprint has changed: embeddings that tiny gave out before are now refused with 409" in printed
        assert live.service.said("reload: .*refused with 409")
        refused = live.compare(a=embedded)
        assert (refused.status_code, refused.json()["code"]) == (409, "fingerprint_mismatch")
        assert live.compare("tiny@1.1.0", a=embedded).status_code == 200


def test_version_gone_from_the_folder_answers_to_its_full_name_for_a_while(tmp_path: Path) -> None:
    with changing(tmp_path, retire_s=6) as live:
        live.write("1.1.0")
        shutil.rmtree(live.models / "tiny" / "1.0.0")
        code, printed = live.reload()
        assert code == 0
        assert "retired tiny@1.0.0: it answers to its full name for 6 s more" in printed
        assert (live.version("tiny"), live.version("tiny@1.0.0")) == ("1.1.0", "1.0.0")
        wait_for("end of tiny@1.0.0", lambda: live.compare("tiny@1.0.0").status_code == 404)
        assert list(live.service.get("/health/ready").json()["models"]) == ["tiny@1.1.0"]

        shutil.rmtree(live.models / "tiny" / "1.1.0")
        code, printed = live.reload()
        assert (code, printed) == (3, "refused: no model is left to serve; no model has changed\n")
        assert live.version() == "1.1.0"


def test_hangup_and_a_watched_folder_reload_too(tmp_path: Path) -> None:
    with changing(tmp_path, watch_models_s=0.2) as live:
        live.write("1.1.0")
        wait_for("the version seen", lambda: live.version() == "1.1.0")
    with changing(tmp_path / "other", workers=2) as live:
        live.write("1.1.0")
        workers = live.service.worker_pids()
        for pid in (*workers, live.service.process.pid):  # as a terminal sends it: to all
            os.kill(pid, signal.SIGHUP)
        wait_for("the version", lambda: live.version() == "1.1.0")
        assert live.service.said("reload: added tiny@1.1.0")
        assert live.service.worker_pids() == workers


def test_worker_killed_during_a_reload_is_replaced_by_one_that_serves_the_new_version(tmp_path: Path) -> None:
    with changing(tmp_path, workers=2) as live:
        first = live.service.worker_pids()[0]
        live.write("1.1.0")
        os.kill(first, signal.SIGSTOP)  # so that it can neither load nor switch
        asking = live.start_reload()
        path = str(live.state / "control.sock")
        wait_for("the request to reload", lambda: Path("/proc/net/unix").read_text().count(path) > 1)
        assert asking.poll() is None
        os.kill(first, signal.SIGKILL)
        out, _ = asking.communicate(timeout=DEADLINE_S)
        assert asking.returncode == 0, out
        wait_for("successor", lambda: len(live.service.worker_pids()) == 2 and first not in live.service.worker_pids())
        live.service.wait_ready(2)
        clients = Clients(live.service.url, count=4)
        with clients.at_work():
            assert len([count for count in live.service.connections_by_worker().values() if count]) == 2
        assert {answer[1:] for answer in clients.answers} == {(200, "1.1.0")}


def test_reload_without_a_service_to_ask_is_one_line_and_exit_2(tmp_path: Path) -> None:
    for state, reason in ((None, "TWINSERVE_STATE_DIR is not set"), (tmp_path, "no service answers in")):
        process = start_reload(state)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"twinserve: reload: {reason}")


def test_socket_is_for_the_owner_alone_and_a_killed_service_leaves_none_in_the_way(tmp_path: Path) -> None:
    with changing(tmp_path) as live:
        assert (live.state / "control.sock").stat().st_mode & 0o777 == 0o600
    assert (live.state / "control.sock").exists()  # the service was killed
    with live_service(live.models, state_dir=live.state) as service:
        service.wait_ready(1)
        assert Changing(service, live.models, live.state).reload() == (0, "no model has changed\n")


def test_state_folder_too_deep_for_a_socket_is_told_and_the_service_runs(tmp_path: Path) -> None:
    with changing(tmp_path, state_dir=tmp_path / ("deep" * 30)) as live:
        assert live.service.said("warning: `twinserve reload` will not work, only SIGHUP will: .*too long")
        live.write("1.1.0")
        live.service.process.send_signal(signal.SIGHUP)
        wait_for("the version", lambda: live.version() == "1.1.0")


def resources(pid: int) -> tuple[int, int, int]:
    """Open descriptors, threads and resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir())), pages * 4096


def test_reloads_over_and_over_leak_no_memory_threads_or_descriptors(tmp_path: Path) -> None:
    with changing(tmp_path, retire_s=0) as live:
        pids = (live.service.process.pid, *live.service.worker_pids())

        def change(minor: int) -> None:
            live.write(f"1.{minor}.0")
            shutil.rmtree(live.models / "tiny" / f"1.{minor - 1}.0")
            assert ask_to_reload(live.state) == 0
            assert live.version() == f"1.{minor}.0"

        for minor in range(1, 6):
            change(minor)
        before = [resources(pid) for pid in pids]
        for minor in range(6, 21):
            change(minor)
        for pid, (files, threads, resident) in zip(pids, before, strict=True):
            now = resources(pid)
            assert is_worker(pid) or pid == pids[0]
            assert now[0] <= files
            assert now[1] <= threads + 1
            assert now[2] < resident + 4 * 1024 * 1024


@pytest.mark.parametrize("closed", ["terminal", "pipe"])
def test_hangup_ends_a_service_whose_terminal_is_closed_and_no_other(uncalibrated_models: Path, closed: str) -> None:
    environment = os.environ | {"TWINSERVE_MODELS": str(uncalibrated_models), "TWINSERVE_PORT": "0"}
    environment |= {"TWINSERVE_WORKERS": "1", "TWINSERVE_DEVICE": "cpu"}
    ours, theirs = os.openpty() if closed == "terminal" else os.pipe()
    with subprocess.Popen([sys.executable, "-m", "app"], stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while b"ready on" not in said:
            said += os.read(ours, 65_536)
        os.close(ours)  # nobody takes a line any more
        process.send_signal(signal.SIGHUP)
        try:
            if closed == "terminal":
                assert process.wait(DEADLINE_S) == 0
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(2)
                process.terminate()
                assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
