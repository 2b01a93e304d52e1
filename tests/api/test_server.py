"""What is no HTTP request, or too slow or too long a head, is refused by the server with problem details."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.api import connection
from tests.test_main import exchange, get, seated, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        ("GARBAGE\r\n\r\n", 400, "invalid_request"),
        ("GET /\x00 HTTP/1.1\r\n\r\n", 400, "invalid_request"),
        ("GET / HTTP/1.1\r\nx: " + "a" * connection.HEAD_BYTES + "\r\n", 431, "too_large"),
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
