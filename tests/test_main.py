"""A worker's life, with the test in the supervisor's place: the same channel, the same socket, real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.bundle import Bundle, read_bundle
from app.core.observe import ModelState, Readiness
from app.main import FAILED, Worker
from app.runtime.control import (
    Beat,
    Channel,
    Closed,
    Died,
    Drain,
    FromWorker,
    Leaving,
    Loaded,
    Part,
    Told,
    ToWorker,
    Up,
)
from app.runtime.registry import Registry, load_models
from app.settings import Settings
from app.telemetry import Telemetry

pytestmark = pytest.mark.anyio

READY = Told(Readiness(True, {"tiny@1.0.0": ModelState(True)}), {"ready": 1, "not_ready": 0})


class Seat:
    """The supervisor's end of one worker that runs in this process, on this loop."""

    def __init__(self, bundle: Bundle, **settings: Any) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=True)
        self._deals, their_deals = socket.socketpair()
        self.control: Channel[ToWorker, FromWorker] = Channel(ours)
        self.heard: list[FromWorker] = []
        self.control.watch(self.heard.append, lambda: None)
        self.worker = Worker(Channel(theirs), Settings(device="cpu", **settings), [bundle], {})
        self.exit_code = asyncio.create_task(self.worker.run(Telemetry(), their_deals))

    def deal(self, receive_buffer: int | None = None) -> socket.socket:
        """Connect as a client would; the client's end, blocking calls to be made in a thread."""
        client = socket.socket()
        client.settimeout(20)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            if receive_buffer is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.connect(listener.getsockname())
            accepted, _ = listener.accept()
        with accepted:
            if receive_buffer is not None:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, receive_buffer)
            socket.send_fds(self._deals, [b"."], [accepted.fileno()])
        return client

    async def ask(self, request: str, client: socket.socket | None = None) -> tuple[int, dict[str, Any], str]:
        """Status, body and head of one answer, on a new connection unless one is given."""
        connected = client or self.deal()
        try:
            answer = await asyncio.to_thread(exchange, connected, request.encode())
        finally:
            if client is None:
                connected.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body) if body else {}, head.decode()

    def heard_of(self, kind: type[FromWorker]) -> list[FromWorker]:
        return [message for message in self.heard if isinstance(message, kind)]

    def closed(self) -> int:
        """How many connections were reported closed."""
        return sum(message.connections for message in self.heard if isinstance(message, Closed))

    def close(self) -> None:
        self.control.close()
        self._deals.close()


def exchange(client: socket.socket, request: bytes) -> bytes:
    """Send, then read one answer with a Content-Length, or what there is until the end."""
    client.sendall(request)
    answer = b""
    while part := client.recv(65_536):
        answer += part
        head, found, body = answer.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if found and length and len(body) >= int(length[0].partition(b":")[2]):
            break
    return answer


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def seated(models: Path, **settings: Any) -> AsyncIterator[Seat]:
    """A worker that has said it is up; drained at the end."""
    seat = Seat(read_bundle(models / "tiny" / "1.0.0"), **settings)
    try:
        await until(lambda: seat.heard_of(Up))
        yield seat
        seat.control.send(Drain())
        async with asyncio.timeout(20):
            await seat.exit_code
    finally:
        seat.exit_code.cancel()
        seat.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


async def test_http_is_up_before_models_and_says_not_ready(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "_load", lambda *_: None)  # models that never finish loading
    async with seated(uncalibrated_models) as seat:
        assert (await seat.ask(get("/health/live")))[0] == 200
        status, body, _ = await seat.ask(get("/health/ready"))
        assert (status, body["ready"]) == (503, False)
        assert body["models"]["tiny@1.0.0"] == {"ready": False, "reason": "loading"}
        status, body, _ = await seat.ask(get("/models"))
        assert (status, body["code"], body["retryable"]) == (503, "not_ready", True)


async def test_ready_is_what_the_supervisor_told_not_what_the_worker_thinks(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Loaded))
        assert seat.heard_of(Loaded) == [Loaded({}, {"tiny@1.0.0": "CPUExecutionProvider"})]
        assert (await seat.ask(get("/health/ready")))[0] == 503
        seat.control.send(READY)
        await until(lambda: seat.worker.readiness().ready)
        assert (await seat.ask(get("/health/ready")))[0] == 200
        assert (await seat.ask(get("/models")))[0] == 200


async def test_every_dealt_connection_is_reported_closed_once(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        clients = [seat.deal() for _ in range(5)]
        for client in clients[:3]:
            await seat.ask(get("/health/live"), client)
        for client in clients:
            client.close()
        await until(lambda: seat.closed() >= 5)
    assert seat.closed() == 5


async def test_drain_answers_what_was_sent_before_it_and_closes(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        late = seat.deal()
        late.sendall(get("/health/live").encode())
        seat.control.send(Drain())
        answer = await asyncio.to_thread(exchange, late, b"")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer.lower()
        assert await asyncio.to_thread(late.recv, 1) == b""
        late.close()
        assert await seat.exit_code == 0


async def test_worker_that_is_to_part_answers_and_closes_but_takes_new_connections(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        kept = seat.deal()
        assert "connection: close" not in (await seat.ask(get("/health/live"), kept))[2]
        seat.control.send(Part())
        await until(lambda: seat.worker._server.parting)
        for client in (kept, seat.deal()):
            status, _, head = await seat.ask(get("/health/live"), client)
            assert (status, "connection: close" in head) == (200, True)
            assert await asyncio.to_thread(client.recv, 1) == b""
            client.close()


async def test_worker_beats_once_it_is_ready_and_says_how_long_its_oldest_batch_has_run(
    uncalibrated_models: Path,
) -> None:
    async with seated(uncalibrated_models, watchdog_ms=10) as seat:
        await until(lambda: seat.heard_of(Loaded))
        await until(lambda: len(seat.heard_of(Beat)) >= 3)
        assert {message.batch_beats for message in seat.heard if isinstance(message, Beat)} == {0}
        batcher = seat.worker.models().get("tiny").batcher
        never = asyncio.create_task(asyncio.sleep(60))
        batcher._running.add(never)
        await until(lambda: any(isinstance(message, Beat) and message.batch_beats >= 3 for message in seat.heard))
        batcher._running.discard(never)
        never.cancel()


async def test_worker_does_not_beat_where_the_watchdog_is_off(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models, watchdog_ms=0) as seat:
        await until(lambda: seat.heard_of(Loaded))
        await asyncio.sleep(0.2)
        assert not seat.heard_of(Beat)


async def test_request_that_outlasts_the_drain_is_cut_off(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models, drain_ms=100) as seat:
        slow = seat.deal()
        slow.sendall(
            b"POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n"
        )
        assert (await asyncio.to_thread(slow.recv, 1000)).startswith(b"HTTP/1.1 100")
        seat.control.send(Drain())
        async with asyncio.timeout(10):
            assert await seat.exit_code == 0
        slow.close()


async def test_worker_whose_supervisor_is_gone_ends(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        seat.control.close()
        async with asyncio.timeout(10):
            assert await seat.exit_code == 0


async def test_terminated_worker_asks_before_it_leaves(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: seat.heard_of(Leaving))
        assert (await seat.ask(get("/health/live")))[0] == 200


async def test_worker_whose_models_cannot_be_loaded_says_why_and_fails(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("app.main.load_models", burst)
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Died))
        assert seat.heard_of(Died) == [Died("models could not be loaded (MemoryError)")]
        assert await seat.exit_code == FAILED


async def test_an_inference_has_the_threads_that_the_settings_say(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def record(*arguments: Any, threads: int, **named: Any) -> tuple[Registry, dict[str, str]]:
        given.append(threads)
        return load_models(*arguments, threads=threads, **named)

    monkeypatch.setattr("app.main.load_models", record)
    async with seated(uncalibrated_models, threads=3) as seat:
        await until(lambda: seat.heard_of(Loaded))
    assert given == [3]


async def test_dead_engine_is_told_and_ends_the_worker(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Loaded))
        batcher = seat.worker.models().get("tiny").batcher
        batcher._die(RuntimeError("out of memory"))
        await until(lambda: seat.heard_of(Died))
        assert await seat.exit_code == FAILED
