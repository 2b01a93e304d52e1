"""How answers leave: together with their heads, and never twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from tests.test_worker import exchange, get, seated

pytestmark = pytest.mark.anyio

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4"), (b"x-own", b"1")]}


async def in_parts(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({**HEAD})
    for part in (b"a", b"bc", b"d"):
        await send({"type": "http.response.body", "body": part, "more_body": part != b"d"})


async def with_a_shorter_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({**HEAD})
    await send({"type": "http.response.body", "body": b"abc"})


async def without_a_body(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({**HEAD})


async def with_another_header_in_a_value(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({**HEAD, "headers": [(b"content-length", b"4"), (b"x-own", b"1\r\nx-another: 2")]})
    await send({"type": "http.response.body", "body": b"abcd"})


async def test_answer_comes_with_its_head_in_one_write(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        for _ in range(3):
            client.sendall(get("/health/live").encode())
            answer = await asyncio.to_thread(client.recv, 65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'\r\n\r\n{"live":true}')
        client.close()


async def test_answer_to_head_has_no_body_and_keeps_the_connection(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        client.sendall(get("/health/live").replace("GET", "HEAD").encode())
        answer = await asyncio.to_thread(client.recv, 65_536)
        assert b"content-length: 13\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        assert (await seat.ask(get("/health/live"), client))[0] == 200
        client.close()


@pytest.mark.parametrize(
    ("app", "end"),
    [(in_parts, b"\r\nabcd"), (with_a_shorter_body, b"\r\nabc"), (without_a_body, b"\r\n\r\n")],
)
async def test_what_is_not_whole_is_sent_as_far_as_it_goes(uncalibrated_models: Path, app: object, end: bytes) -> None:
    async with seated(uncalibrated_models) as seat:
        seat.worker._server.config.loaded_app = app
        client = seat.deal()
        answer = await asyncio.to_thread(exchange, client, get("/").encode())
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(end)
        client.close()


async def test_value_of_a_header_cannot_bring_in_another(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        seat.worker._server.config.loaded_app = with_another_header_in_a_value
        client = seat.deal()
        answer = await asyncio.to_thread(exchange, client, get("/").encode())
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"x-another" not in answer
        client.close()
