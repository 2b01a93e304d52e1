"""The nginx example for real: two running services behind Debian's nginx, and what callers see of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.deploy.nginx import NGINX, Gateway, running_nginx
from tests.serving import picture, problem
from tests.supervisor.live import DEADLINE_S, LiveService, live_service, wait_for, wait_for_end

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="no nginx on this machine (Debian: apt-get install nginx-light)"),
    pytest.mark.timeout(300),
]

LIMIT = Settings().max_body_bytes
PAIR = {"a": picture(1, 0), "b": picture(1, 1)}


@pytest.fixture(scope="module")
def replicas(uncalibrated_models: Path) -> Iterator[list[LiveService]]:
    with live_service(uncalibrated_models) as one, live_service(uncalibrated_models) as other:
        for replica in (one, other):
            replica.wait_ready(1)
        yield [one, other]


@pytest.fixture(scope="module")
def gateway(replicas: list[LiveService], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_nginx(tmp_path_factory.mktemp("nginx"), [replica.port for replica in replicas]) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=DEADLINE_S) as client:
        yield client


def test_compare_through_the_gateway_is_the_same_answer_from_either_replica(
    client: httpx.Client, gateway: Gateway, replicas: list[LiveService]
) -> None:
    direct = httpx.post(f"{replicas[0].url}/compare", json=PAIR).json()
    before = len(gateway.requests())
    assert [client.post("/compare", json=PAIR).json() for _ in range(4)] == [direct] * 4
    asked = {address for _, addresses in gateway.requests()[before:] for address in addresses}
    assert asked == {f"127.0.0.1:{replica.port}" for replica in replicas}


def test_gateway_keeps_its_connections_to_the_replicas(client: httpx.Client, replicas: list[LiveService]) -> None:
    for _ in range(20):
        assert client.post("/compare", json=PAIR).status_code == 200
    for replica in replicas:
        assert sum(replica.connections_by_worker().values()) == 1


def test_body_over_the_limit_is_413_and_one_at_the_limit_reaches_the_service(client: httpx.Client) -> None:
    headers = {"content-type": "image/png", "x-request-id": "large-1"}
    refused = client.post("/embed", content=bytes(LIMIT + 1), headers=headers)
    body = problem(refused, 413, "too_large")
    assert body["request_id"] == "large-1"
    problem(client.post("/embed", content=bytes(LIMIT), headers=headers), 422, "unusable_input", "/inputs/0")


def test_body_over_the_limit_of_unstated_length_is_413_too(client: httpx.Client) -> None:
    pieces = (bytes(1 << 20) for _ in range(LIMIT // (1 << 20) + 1))
    problem(client.post("/embed", content=pieces, headers={"content-type": "image/png"}), 413, "too_large")


def test_request_id_passes_and_is_made_where_there_is_none_that_the_service_takes(client: httpx.Client) -> None:
    assert client.post("/compare", json=PAIR, headers={"x-request-id": "mine.1"}).headers["x-request-id"] == "mine.1"
    wrong = problem(client.post("/compare", json={}, headers={"x-request-id": "mine.2"}), 422, "invalid_request")
    assert wrong["request_id"] == "mine.2"
    made = [client.post("/compare", json=PAIR, headers=given).headers for given in ({}, {"x-request-id": "not one"})]
    assert len({headers["x-request-id"] for headers in made} | {"not one"}) == 3
    assert all(len(headers.get_list("x-request-id")) == 1 for headers in made)


def kill(replica: LiveService) -> None:
    """End a replica at once, as a lost machine does."""
    workers = replica.worker_pids()
    replica.process.kill()
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    replica.process.wait()
    for pid in workers:
        wait_for_end(pid)


def test_killing_one_of_two_replicas_loses_no_request(uncalibrated_models: Path, tmp_path: Path) -> None:
    with (
        live_service(uncalibrated_models) as lost,
        live_service(uncalibrated_models) as kept,
        running_nginx(tmp_path, [lost.port, kept.port]) as gateway,
        httpx.Client(base_url=gateway.url, timeout=DEADLINE_S) as client,
        ThreadPoolExecutor(2) as callers,
    ):
        for replica in (lost, kept):
            replica.wait_ready(1)
        assert {client.post("/compare", json=PAIR).status_code for _ in range(4)} == {200}
        [worker] = lost.worker_pids()
        os.kill(worker, signal.SIGSTOP)  # so that what it is asked is surely under way when it dies
        answers = [callers.submit(client.post, "/compare", json=PAIR) for _ in range(2)]
        wait_for("the other replica's answer", lambda: any(answer.done() for answer in answers))
        assert not all(answer.done() for answer in answers)
        kill(lost)
        assert [answer.result().status_code for answer in answers] == [200, 200]
        again = f"127.0.0.1:{lost.port}", f"127.0.0.1:{kept.port}"
        assert (200, list(again)) in gateway.requests()
        assert {client.post("/compare", json=PAIR).status_code for _ in range(50)} == {200}


@pytest.mark.parametrize("passed_on", ["http://twinserve;", "http://twinserve/;"], ids=["kept", "taken off"])
def test_below_a_path_the_service_is_found_and_described_whether_nginx_keeps_the_path_or_not(
    uncalibrated_models: Path, tmp_path: Path, passed_on: str
) -> None:
    changed = {
        "    server twinserve-2:8000 max_fails=0;\n": "",
        "location / {": "location /similarity/ {",
        "proxy_pass http://twinserve;": f"proxy_pass {passed_on}",
    }
    with (
        live_service(uncalibrated_models, root_path="/similarity", trusted_proxies="127.0.0.1") as replica,
        running_nginx(tmp_path, [replica.port], changed) as gateway,
        httpx.Client(base_url=gateway.url, timeout=DEADLINE_S) as client,
    ):
        replica.wait_ready(1)
        document = client.get("/similarity/openapi.json").json()
        for server in (entry["url"] for entry in document["servers"]):
            assert client.post(f"{server}/compare", json=PAIR).status_code == 200
        assert client.get("/similarity/docs/start.js").status_code == 200
        assert client.post("/compare", json=PAIR).headers["content-type"] == "text/html", "nginx's own 404"
        told = {"X-Request-ID": "from-far", "X-Forwarded-For": "192.0.2.7"}
        client.get("/similarity/models", headers=told)
        line = json.loads(wait_for("log line", lambda: replica.said("from-far")).string)
        # nginx has added 127.0.0.1, which the setting trusts, so that what came before counts too
        assert (line["client"], line["scheme"], line["route"]) == ("192.0.2.7", "http", "/models")
