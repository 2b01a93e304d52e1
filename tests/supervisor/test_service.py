"""The running service: spread, killed workers, drain. Everything here is the real thing in its own processes."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.supervisor import serve
from tests.ports import lasting_port
from tests.supervisor.live import DEADLINE_S, LiveService, is_worker, live_service, wait_for
from tests.tiny import tiny_png

REQUESTS = 'twinserve_requests_total{code="200",route="/compare"}'


pytestmark = [pytest.mark.usefixtures("signals_restored"), pytest.mark.timeout(300)]


def pair_body() -> bytes:
    """A request to /compare."""
    items = [{"base64": base64.b64encode(tiny_png(1, variant)).decode()} for variant in (0, 1)]
    return json.dumps({"a": items[0], "b": items[1]}).encode()


def compare(client: httpx.Client) -> httpx.Response:
    return client.post("/compare", content=pair_body(), headers={"content-type": "application/json"})


def client_of(service: LiveService) -> httpx.Client:
    """A client with one keep-alive connection."""
    return httpx.Client(base_url=service.url, timeout=DEADLINE_S, limits=httpx.Limits(max_connections=1))


def test_early_connection_waits_for_a_worker_and_ready_turns_from_503_to_200(pair: LiveService) -> None:
    live, *before, last = pair.first_statuses
    assert (live, last) == (200, 200)
    assert set(before) <= {503}
    assert pair.get("/health/ready").json() == {
        "ready": True,
        "models": {"tiny@1.0.0": {"ready": True, "reason": None}},
    }


def test_four_keep_alive_connections_land_two_and_two_and_both_workers_answer(pair: LiveService) -> None:
    wait_for("end of earlier connections", lambda: not sum(pair.connections_by_worker().values()))
    clients = [client_of(pair) for _ in range(4)]
    try:
        assert [compare(client).status_code for client in clients] == [200] * 4
        assert sorted(pair.connections_by_worker().values()) == [2, 2]
    finally:
        for client in clients:
            client.close()


def test_closed_connections_are_counted_so_that_the_next_ones_are_spread_too(pair: LiveService) -> None:
    for _ in range(3):
        wait_for("end of earlier connections", lambda: not sum(pair.connections_by_worker().values()))
        clients = [client_of(pair) for _ in range(6)]
        for client in clients:
            client.get("/health/live")
        try:
            assert sorted(pair.connections_by_worker().values()) == [3, 3]
        finally:
            for client in clients[::2]:
                client.close()
            for client in clients[1::2]:
                client.close()


def test_each_request_is_one_json_line_on_stderr_without_its_payload(pair: LiveService) -> None:
    with client_of(pair) as client:
        headers = {"content-type": "application/json", "x-request-id": "mine-1"}
        client.post("/compare", content=pair_body(), headers=headers)
    line = wait_for("log line", lambda: pair.said("mine-1")).string
    record = json.loads(line)
    assert (record["message"], record["route"], record["status"]) == ("request", "/compare", 200)
    assert record["ms"] > 0
    assert len(line) < 300


def test_metrics_of_any_worker_are_the_sum_over_all(pair: LiveService) -> None:
    clients = [client_of(pair) for _ in range(2)]
    before = pair.metric(REQUESTS)
    try:
        for client in clients:
            compare(client)
        assert len([count for count in pair.connections_by_worker().values() if count]) == 2
        wait_for("both in the sum", lambda: pair.metric(REQUESTS) == before + 2)  # counted after they are answered
    finally:
        for client in clients:
            client.close()


def test_supervisor_holds_no_engine_and_each_worker_does(pair: LiveService) -> None:
    def maps(pid: int) -> str:
        return Path(f"/proc/{pid}/maps").read_text()

    assert "onnxruntime" not in maps(pair.process.pid)
    assert all("onnxruntime" in maps(pid) for pid in pair.worker_pids())


def test_interrupt_of_the_whole_group_does_not_reach_a_request_through_its_worker(pair: LiveService) -> None:
    for pid in pair.worker_pids():
        os.kill(pid, signal.SIGINT)
    with client_of(pair) as client:
        assert compare(client).status_code == 200
    assert pair.metric('twinserve_workers{state="ready"}') == 2


def test_killed_worker_is_replaced_while_the_other_answers_and_no_sum_falls(pair: LiveService) -> None:
    with client_of(pair) as one, client_of(pair) as other:
        for client in (one, other):
            compare(client)
        before = wait_for("both in the sum", lambda: settled(pair))
        holders = {pid for pid, count in pair.connections_by_worker().items() if count}
        victim = max(holders)
        os.kill(victim, signal.SIGKILL)
        wait_for("end of the victim", lambda: not is_worker(victim))
        with client_of(pair) as newcomer:
            assert compare(newcomer).status_code == 200
            assert pair.get("/health/ready").status_code == 200
        wait_for("successor", lambda: len(pair.worker_pids()) == 2)
        pair.wait_ready(2)
        assert victim not in pair.worker_pids()
        assert pair.metric(REQUESTS) >= before + 1
    assert pair.said(rf"worker \d \(pid {victim}\) killed by SIGKILL; the next one starts in 0.1 s")


def settled(service: LiveService) -> float:
    """The count of answered comparisons once it stands still; 0 while it does not."""
    first, second = service.metric(REQUESTS), service.metric(REQUESTS)
    return first if first == second else 0.0


def test_terminated_worker_finishes_and_is_replaced(pair: LiveService) -> None:
    victim = pair.worker_pids()[0]
    os.kill(victim, signal.SIGTERM)
    wait_for("successor", lambda: victim not in pair.worker_pids() and len(pair.worker_pids()) == 2)
    pair.wait_ready(2)
    assert pair.said(rf"\(pid {victim}\) exited with 0")


def test_stop_finishes_the_request_under_way_and_exits_0(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models) as service:
        service.wait_ready(1)
        body = pair_body()
        with (
            client_of(service) as idle,
            socket.create_connection(("127.0.0.1", service.port), timeout=DEADLINE_S) as client,
        ):
            compare(idle)  # its connection stays open, and must not keep the service from ending
            client.sendall(
                b"POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n"
                b"content-length: %d\r\n\r\n" % len(body)
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100")  # the service reads the body: it is under way
            client.sendall(body[:100])
            service.process.send_signal(signal.SIGTERM)
            wait_for("end of listening", lambda: service.said("finishing what is under way"))
            wait_for("refusal of newcomers", lambda: refuses(service.port))
            client.sendall(body[100:])
            answer = client.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        assert service.wait_exit() == 0


def test_stop_goes_on_for_a_while_and_says_that_it_is_not_ready(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, drain_delay_ms=1_000_000) as service:
        service.wait_ready(1)
        with client_of(service) as kept:
            assert "connection" not in compare(kept).headers
            service.process.send_signal(signal.SIGTERM)
            wait_for("readiness to fall", lambda: service.get("/health/ready").status_code == 503)
            for client in (kept, newcomer := client_of(service)):
                answer = compare(client)
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            newcomer.close()
            assert service.get("/health/ready").json()["models"]["tiny@1.0.0"]["reason"] == "the service is stopping"
            assert service.get("/health/live").status_code == 200
        time.sleep(1.1)  # signals closer together are one
        service.process.send_signal(signal.SIGINT)  # somebody does not want to wait
        assert service.wait_exit() == 0


def test_stop_goes_on_no_longer_than_it_was_told_to(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, drain_delay_ms=1000) as service:
        service.wait_ready(1)
        service.process.send_signal(signal.SIGTERM)
        wait_for("end of listening", lambda: refuses(service.port))
        assert service.wait_exit() == 0


def test_interrupt_at_a_terminal_does_not_go_on(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, drain_delay_ms=1_000_000) as service:
        service.wait_ready(1)
        service.process.send_signal(signal.SIGINT)
        assert service.wait_exit() == 0


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_workers_of_a_killed_supervisor_go_away(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, workers=2) as service:
        service.wait_ready(2)
        workers = service.worker_pids()
        service.process.kill()
        wait_for("end of the workers", lambda: not any(map(is_worker, workers)))


def test_metrics_on_their_own_port_are_not_on_the_main_one(uncalibrated_models: Path) -> None:
    with live_service(uncalibrated_models, metrics_port=0) as service:
        metrics = wait_for("metrics line", lambda: service.said(r"metrics on (\S+)")).group(1)
        wait_for("readiness", lambda: 'workers{state="ready"} 1.0' in httpx.get(metrics).text)
        with client_of(service) as client:
            compare(client)
        wait_for("the request in the sum", lambda: f"{REQUESTS} 1.0" in httpx.get(metrics).text)
        assert 'model="tiny@1.0.0",precision="fp32",provider="CPUExecutionProvider"} 1.0' in httpx.get(metrics).text
        assert service.get("/metrics").status_code == 404


def test_everything_written_is_below_the_state_folder_and_the_rest_is_removed(
    uncalibrated_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    with live_service(uncalibrated_models, state_dir=state) as service:
        service.wait_ready(1)
        assert serve(Settings(models=uncalibrated_models, port=0, state_dir=state)) == 2
        assert "another service runs on this state folder" in capsys.readouterr().err
        assert list((state / "metrics").iterdir())
        service.process.send_signal(signal.SIGINT)
        assert service.wait_exit() == 0
    assert [path.name for path in state.iterdir()] == ["lock"]


def test_service_whose_log_is_on_a_full_disk_serves_and_stops_as_any_other(uncalibrated_models: Path) -> None:
    port = lasting_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    chosen = {"MODELS": uncalibrated_models, "PORT": port, "WORKERS": 1, "DEVICE": "cpu"}
    environment = own | {f"TWINSERVE_{name}": str(value) for name, value in chosen.items()}

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen([sys.executable, "-m", "app"], stderr=full, env=environment)
        try:
            wait_for("readiness", is_ready)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
                assert {compare(client).status_code for _ in range(200)} == {200}
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.wait()
