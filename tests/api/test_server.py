"""What is no HTTP request, or too slow or too long a head, is refused by the server with problem details."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.api import connection, framing
from app.core.bundle import read_bundle
from app.runtime.control import Loaded
from tests.serving import b64
from tests.test_worker import exchange, get, seated, until
from tests.tiny import tiny_png

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        ("GARBAGE\r\n\r\n", 400, "invalid_request"),
        ("GET /\x00 HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        ("GET / HTTP/1.1\r\nx: " + "a" * framing.HEAD_BYTES + "\r\n", 431, "too_large"),
    ],
)
async def test_unreadable_head_is_a_problem_with_a_request_id_and_a_closed_connection(
    uncalibrated_models: Path, request_text: str, status: int, code: str
) -> None:
    async with seated(uncalibrated_models) as seat:
        found, body, head = await seat.ask(request_text)
        assert (found, body["code"], body["status"]) == (status, code, status)
        assert f"x-request-id: {body['request_id']}" in head
        assert "application/problem+json" in head
        assert "connection: close" in head


async def test_head_that_does_not_come_in_time_is_408(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    async with seated(uncalibrated_models) as seat:
        status, body, _ = await seat.ask("GET / HTT")
        assert (status, body["code"], body["retryable"]) == (408, "client_timeout", True)


async def test_head_that_came_in_parts_does_not_end_its_connection_later(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[connection.Connection] = []
    parse = connection.Connection.data_received

    def noting(heard: connection.Connection, data: bytes) -> None:
        parse(heard, data)
        arrived.append(heard)

    monkeypatch.setattr(connection.Connection, "data_received", noting)
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        client.sendall(b"GET /health/live HT")
        await until(lambda: arrived)
        assert arrived[0]._head_timer is not None
        assert (await seat.ask("TP/1.1\r\nhost: x\r\n\r\n", client))[0] == 200
        assert arrived[0]._head_timer is None
        client.close()


async def test_connection_that_never_asks_is_closed_after_the_keep_alive_time(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models, keep_alive_s=1) as seat:
        client = seat.deal()
        assert await asyncio.to_thread(exchange, client, b"") == b""
        client.close()


async def test_connection_is_kept_for_further_requests_and_pipelined_ones(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        for _ in range(3):
            assert (await seat.ask(get("/health/live"), client))[0] == 200
        client.sendall((get("/health/live") * 2).encode())
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 2:
            answers += await asyncio.to_thread(client.recv, 65_536)
        client.close()


async def test_answers_name_no_server_software(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        _, _, head = await seat.ask(get("/health/live"))
        assert "\r\nserver:" not in head.lower()
        assert "\r\ndate:" in head.lower()


def post(path: str, body: str) -> str:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"


async def test_overloaded_worker_turns_away_before_the_body_and_keeps_the_connection(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models, max_requests=1, keep_alive_s=1) as seat:
        busy, client = seat.deal(), seat.deal()
        busy.sendall(post("/compare", "x" * 100).encode())  # its body does not come, so its slot stays taken
        await until(lambda: seat.worker._server.door._free == 0)
        status, body, head = await seat.ask(post("/compare", "{}"), client)
        assert (status, body["code"], body["retryable"]) == (429, "overloaded", True)
        assert "retry-after: 1" in head.lower()
        assert f"x-request-id: {body['request_id']}" in head.lower()
        client.sendall(b"{}")  # the body of what was turned away is no new request
        assert (await seat.ask(get("/health/live"), client))[0] == 200  # which takes no slot
        assert (await seat.ask(post("/compare", "{}"), client))[0] == 429
        client.sendall(b"{}")
        assert await asyncio.to_thread(exchange, client, b"") == b""  # closed once it has idled long enough
        busy.close()
        client.close()


async def test_connection_beyond_the_limit_takes_the_place_of_the_one_that_idled_longest(
    uncalibrated_models: Path,
) -> None:
    async with seated(uncalibrated_models, max_connections=3) as seat:
        busy, first, second = (seat.deal() for _ in range(3))
        busy.sendall(post("/compare", "x" * 100).encode())  # its body does not come: it is not idle
        await until(lambda: len(seat.worker._server.idle) == 2)
        for client in (second, first):  # from now on it is the second that has idled longer
            assert (await seat.ask(get("/health/live"), client))[0] == 200
        newcomer = seat.deal()
        assert (await seat.ask(get("/health/live"), newcomer))[0] == 200
        assert await asyncio.to_thread(second.recv, 1) == b""
        assert (await seat.ask(get("/health/live"), first))[0] == 200
        await until(lambda: seat.closed() == 1)
        busy.sendall(b"x" * 100)
        assert (await seat.ask("", busy))[0] == 422
        for client in (busy, first, second, newcomer):
            client.close()


async def test_connections_that_send_no_whole_head_are_the_first_to_go(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models, max_connections=2) as seat:
        slow = [seat.deal() for _ in range(2)]
        for client in slow:
            client.sendall(b"GET / HT")
        await until(lambda: len(seat.worker._server.idle) == 2)
        assert (await seat.ask(get("/health/live")))[0] == 200
        assert await asyncio.to_thread(slow[0].recv, 1) == b""
        for client in slow:
            client.close()


def embed_much() -> str:
    """A request whose answer is larger than what the kernel takes from the service for a client that reads nothing."""
    item = json.dumps({"base64": b64(tiny_png(1, 0))})
    body = f'{{"inputs":[{",".join([item] * 256)}]}}'
    return post("/embed", body) + body


@pytest.mark.parametrize("last", [False, True])
async def test_client_that_reads_no_answer_is_cut_off(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    monkeypatch.setattr(connection, "READ_S", 0.05)
    async with seated(uncalibrated_models, keep_alive_s=60) as seat:
        await until(lambda: seat.heard_of(Loaded))
        await seat.serve(1, read_bundle(uncalibrated_models / "tiny" / "1.0.0"))
        client = seat.deal(receive_buffer=2048)
        # Either its last request, or several in a row, whose answers would each wait for the one before to be read.
        requests = embed_much().replace("host: x", "host: x\r\nconnection: close") if last else embed_much() * 4
        await asyncio.to_thread(client.sendall, requests.encode())
        await until(lambda: seat.closed() == 1)
        client.close()


async def test_client_that_reads_slowly_gets_all_of_its_answer(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_S", 0.2)
    monkeypatch.setattr(connection, "READ_BYTES", 1)
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Loaded))
        await seat.serve(1, read_bundle(uncalibrated_models / "tiny" / "1.0.0"))
        client = seat.deal(receive_buffer=2048)
        await asyncio.to_thread(client.sendall, embed_much().encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += await asyncio.to_thread(client.recv, 8192)
            await asyncio.sleep(0.01)
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["embeddings"]) == 256
        client.close()
