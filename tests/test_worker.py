"""A worker's life, with the test in the supervisor's place: the same channel, the same socket, real HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.access import make_entry
from app.core.bundle import Bundle, read_bundle
from app.core.errors import DeviceUnavailable, NotReady, UnknownModel
from app.core.observe import ModelState, Readiness
from app.runtime import registry
from app.runtime.control import (
    Beat,
    Channel,
    Closed,
    Died,
    Drain,
    FromWorker,
    Keys,
    Leaving,
    Loaded,
    Part,
    Refused,
    Switch,
    Switched,
    Told,
    ToWorker,
    Up,
)
from app.runtime.cpus import STEPS_BACK
from app.runtime.engine import Encoded
from app.runtime.registry import Model, load_model
from app.settings import Settings
from app.telemetry import Telemetry
from app.worker import FAILED, Worker
from tests.core.modalities.pictures import encoded, noise
from tests.tiny import make_tiny, tiny_item

pytestmark = pytest.mark.anyio

LOADING = Told(Readiness(False, {"tiny@1.0.0": ModelState(False, "loading")}), {})
READY = Told(Readiness(True, {"tiny@1.0.0": ModelState(True)}), {"ready": 1, "not_ready": 0})


class Seat:
    """The supervisor's end of one worker that runs in this process, on this loop."""

    def __init__(self, bundle: Bundle, keys: Keys | None, **settings: Any) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=True)
        self._deals, their_deals = socket.socketpair()
        self.control: Channel[ToWorker, FromWorker] = Channel(ours)
        self.heard: list[FromWorker] = []
        self.control.watch(self.heard.append, lambda: None)
        their_loads, self._loads = multiprocessing.Pipe(duplex=False)
        self.worker = Worker(Channel(theirs), their_loads, Settings(device="cpu", **settings), LOADING, keys)
        self.load(bundle)
        self.exit_code = asyncio.create_task(self.worker.run(Telemetry(), their_deals))

    def load(self, bundle: Bundle) -> None:
        """Send a bundle, in a thread, since a pipe holds less than one."""
        threading.Thread(target=self._send, args=(bundle,), daemon=True).start()

    def _send(self, bundle: Bundle) -> None:
        with contextlib.suppress(OSError):  # the worker failed before it read this
            self._loads.send(bundle)

    async def serve(self, generation: int, *bundles: Bundle) -> None:
        """Have it switch to these, which it has loaded."""
        self.control.send(Switch(generation, {bundle.key: bundle.manifest.manifest_digest for bundle in bundles}))
        await until(lambda: Switched(generation) in self.heard)

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
        self._loads.close()


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


def get(path: str, key: str = "") -> str:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n"


def post(path: str, body: Any) -> str:
    content = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return f"{head}\r\n\r\n{content}"


def keys(table: str) -> Keys:
    return Keys(table, 1)


async def served(seat: Seat, models: Path) -> None:
    """Until it serves its bundle."""
    await until(lambda: seat.heard_of(Loaded))
    await seat.serve(1, read_bundle(models / "tiny" / "1.0.0"))


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def seated(models: Path, keys: Keys | None = None, **settings: Any) -> AsyncIterator[Seat]:
    """A worker that has said it is up; drained at the end."""
    seat = Seat(read_bundle(models / "tiny" / "1.0.0"), keys, **settings)
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
        bundle = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
        assert seat.heard_of(Loaded) == [Loaded(bundle.manifest.manifest_digest, "CPUExecutionProvider")]
        assert (await seat.ask(get("/models")))[0] == 503
        await seat.serve(1, bundle)
        assert (await seat.ask(get("/health/ready")))[0] == 503
        seat.control.send(READY)
        await until(lambda: seat.worker.readiness().ready)
        assert (await seat.ask(get("/health/ready")))[0] == 200
        assert (await seat.ask(get("/models")))[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux weighs threads")
async def test_threads_that_compute_step_back_behind_the_event_loop(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "INLINE_BELOW_S", 0.0)  # or so small a batch would run on the loop
    picture = noise(200, 200)
    picture.paste((255, 255, 255), (0, 0, 100, 200))
    large = base64.b64encode(encoded(picture, "PNG")).decode()  # prepared by a thread beforehand
    async with seated(uncalibrated_models) as seat:
        await served(seat, uncalibrated_models)
        status, _, _ = await seat.ask(post("/embed", {"inputs": [{"base64": large}]}))
        assert status == 200
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(("inference", "prepare"))]
        assert {thread.name.partition("_")[0] for thread in threads} == {"inference", "prepare"}
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        weights = {os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) for thread in threads}
        assert weights == {min(own + STEPS_BACK, 19)}


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
        await served(seat, uncalibrated_models)
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
        await served(seat, uncalibrated_models)
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

    monkeypatch.setattr("app.main.load_model", burst)
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Died))
        assert seat.heard_of(Died) == [Died("models could not be loaded (MemoryError)")]
        assert await seat.exit_code == FAILED


async def test_an_inference_has_the_threads_that_the_settings_say(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def record(*arguments: Any, threads: int, **named: Any) -> Model:
        given.append(threads)
        return load_model(*arguments, threads=threads, **named)

    monkeypatch.setattr("app.main.load_model", record)
    async with seated(uncalibrated_models, threads=3) as seat:
        await until(lambda: seat.heard_of(Loaded))
    assert given == [3]


async def test_dead_engine_is_told_and_ends_the_worker(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        await served(seat, uncalibrated_models)
        batcher = seat.worker.models().get("tiny").batcher
        batcher._die(RuntimeError("out of memory"))
        await until(lambda: seat.heard_of(Died))
        assert await seat.exit_code == FAILED


async def test_keys_in_force_are_those_that_the_supervisor_told_last(uncalibrated_models: Path) -> None:
    (old, old_entry), (new, new_entry) = make_entry("old", ["compare"]), make_entry("new", ["compare"])
    async with seated(uncalibrated_models, keys(old_entry)) as seat:
        await served(seat, uncalibrated_models)
        assert [(await seat.ask(get("/models", key)))[0] for key in ("", old, new)] == [401, 200, 401]
        unsent = "POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        assert (await seat.ask(unsent))[0] == 401  # without waiting for the body
        seat.control.send(keys(new_entry))
        seat.control.send(READY)
        await until(lambda: seat.worker.readiness().ready)
        assert [(await seat.ask(get("/models", key)))[0] for key in ("", old, new)] == [401, 401, 200]


async def test_rate_of_a_key_is_shared_by_the_workers_that_are_ready(uncalibrated_models: Path) -> None:
    secret, entry = make_entry("one", ["compare"], rate_per_s=0.001, burst=6)
    async with seated(uncalibrated_models, keys(entry)) as seat:
        await served(seat, uncalibrated_models)
        seat.control.send(Told(Readiness(True, {"tiny@1.0.0": ModelState(True)}), {"ready": 3, "not_ready": 0}))
        await until(lambda: seat.worker.readiness().ready)
        assert [(await seat.ask(get("/models", secret)))[0] for _ in range(3)] == [200, 200, 429]


async def test_urls_are_fetched_from_the_hosts_of_the_settings_only(uncalibrated_models: Path) -> None:
    body = json.dumps(
        {"a": {"url": "https://elsewhere.example.org/a"}, "b": {"url": "https://elsewhere.example.org/b"}}
    )
    head = "POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json"
    request = f"{head}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    for hosts, said in ((None, "fetches no URLs"), ("files.example.org", "not one that this service")):
        async with seated(uncalibrated_models, url_hosts=hosts) as seat:
            await served(seat, uncalibrated_models)
            status, answer, _ = await seat.ask(request)
            assert (status, answer["code"], answer["pointer"]) == (422, "invalid_request", "/a")
            assert said in answer["detail"]


async def test_model_that_stays_is_kept_and_one_that_goes_answers_who_holds_it(uncalibrated_models: Path) -> None:
    old = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
    new = make_tiny(version="1.1.0", calibrated=False)
    async with seated(uncalibrated_models) as seat:
        await until(lambda: len(seat.heard_of(Loaded)) == 1)
        await seat.serve(1, old)
        before = seat.worker.models().get("tiny")
        with before.batcher.reserve(1) as places:  # as a request does before it waits for anything
            seat.load(new)
            await until(lambda: len(seat.heard_of(Loaded)) == 2)
            assert seat.worker.models().get("tiny") is before
            await seat.serve(2, old, new)
            assert seat.worker.models().get("tiny").key == "tiny@1.1.0"
            assert seat.worker.models().get("tiny@1.0.0") is before
            await seat.serve(3, new)
            with pytest.raises(UnknownModel):
                seat.worker.models().get("tiny@1.0.0")
            [outcome] = await places.submit([tiny_item(0, 0)])
            assert isinstance(outcome, Encoded)
        await until(partial(closed, before))
        encoder = weakref.ref(before.encoder)
        del before, outcome, places
        await until(lambda: encoder() is None)
        assert not closed(seat.worker.models().get("tiny"))


def closed(model: Model) -> bool:
    """Whether the model takes nothing more."""
    try:
        with model.batcher.reserve(1):
            return False
    except NotReady:
        return True


@pytest.mark.parametrize("error", [MemoryError(), DeviceUnavailable("device cuda: out of memory")])
async def test_bundle_that_cannot_be_loaded_beside_others_is_refused_and_they_are_served(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def burst(bundle: Bundle, **settings: Any) -> Model:
        if bundle.version != "1.0.0":
            raise error
        return load_model(bundle, **settings)

    monkeypatch.setattr("app.main.load_model", burst)
    old = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
    async with seated(uncalibrated_models) as seat:
        await until(lambda: seat.heard_of(Loaded))
        await seat.serve(1, old)
        new = make_tiny(version="1.1.0", calibrated=False)
        seat.load(new)
        await until(lambda: seat.heard_of(Refused))
        assert [one.digest for one in seat.heard if isinstance(one, Refused)] == [new.manifest.manifest_digest]
        assert (await seat.ask(get("/models")))[0] == 200
        assert not seat.heard_of(Died)
