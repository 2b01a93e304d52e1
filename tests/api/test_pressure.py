"""When requests are turned away unread: only where queues refuse often, and only while the one that did still would."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.api import pressure
from app.api.door import Door
from app.api.pressure import READ_REFUSALS_PER_S, Pressure
from app.runtime.registry import Registry
from tests.serving import Gate, Recorder, client_of, load, make_app, picture, problem
from tests.test_worker import get, seated, served, until
from tests.tiny import make_tiny

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
JSON = {"Content-Type": "application/json"}
OFTEN = int(READ_REFUSALS_PER_S)


class Queue:
    """One that refuses while `wait_s` says how long."""

    wait_s: float | None = 3.5

    def still_full(self) -> float | None:
        return self.wait_s


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def pressed(clock: Clock, queue: Queue, refusals: int) -> Pressure:
    made = Pressure(clock)
    for _ in range(refusals):
        made.felt(queue.still_full)
    return made


def test_a_queue_that_refuses_now_and_then_keeps_nobody_out() -> None:
    clock, queue = Clock(), Queue()
    made = pressed(clock, queue, OFTEN - 1)
    assert made.wait_s() is None
    for _ in range(1000):
        clock.now += 1.1 / READ_REFUSALS_PER_S
        made.felt(queue.still_full)
        assert made.wait_s() is None


def test_a_queue_that_refuses_often_keeps_others_out_for_as_long_as_it_says() -> None:
    clock, queue = Clock(), Queue()
    made = pressed(clock, queue, 10 * OFTEN)
    assert made.wait_s() == 3.5
    queue.wait_s = 2.25
    assert made.wait_s() == 2.25
    clock.now += 1.1 / READ_REFUSALS_PER_S  # one may come in and see; if it is refused, that was it again
    assert made.wait_s() is None
    made.felt(queue.still_full)
    assert made.wait_s() == 2.25


def test_all_are_let_in_as_soon_as_the_queue_has_room_and_until_one_is_refused_again() -> None:
    clock, queue = Clock(), Queue()
    made = pressed(clock, queue, OFTEN)
    queue.wait_s = None
    assert made.wait_s() is None
    queue.wait_s = 1.0
    assert made.wait_s() is None
    made.felt(queue.still_full)
    assert made.wait_s() == 1.0


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


@pytest.fixture
def none_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is read to be refused but the first: time plays no part."""
    monkeypatch.setattr(pressure, "READ_REFUSALS_PER_S", 1e-9)


@pytest.mark.anyio
@pytest.mark.usefixtures("none_read")
async def test_a_full_queue_turns_requests_away_unread_and_takes_all_again_once_it_has_room(tiny: Registry) -> None:
    gate, seen = Gate(), Recorder()
    app = make_app(gate.registry(next(iter(tiny)), queue_items=2), observer=seen)
    async with client_of(app) as client:
        first = asyncio.create_task(client.post("/compare", json=PAIR))
        await gate.wait_started()
        problem(await client.post("/compare", content=b"{no JSON", headers=JSON), 422, "invalid_request")
        problem(await client.post("/compare", json={"a": picture(1), "b": picture(2)}), 429, "overloaded")
        refused = await client.post("/compare", content=b"{no JSON", headers=JSON)
        problem(refused, 429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert seen.codes[-1] == "overloaded"
        for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/models", "/models/tiny"):
            assert (await client.get(path)).status_code == 200
        gate.opened.set()
        assert (await first).status_code == 200
        problem(await client.post("/compare", content=b"{no JSON", headers=JSON), 422, "invalid_request")
        answers = [await client.post("/compare", json=PAIR) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}


@pytest.mark.anyio
@pytest.mark.usefixtures("none_read")
async def test_requests_for_many_items_that_find_no_place_keep_no_single_one_out(tiny: Registry) -> None:
    gate = Gate()
    async with client_of(make_app(gate.registry(next(iter(tiny)), queue_items=10))) as client:
        first = asyncio.create_task(client.post("/compare", json=PAIR))
        await gate.wait_started()
        many = {"inputs": [picture(identity) for identity in range(10)]}
        for _ in range(3):
            problem(await client.post("/embed", json=many), 429, "overloaded")
        single = asyncio.create_task(client.post("/compare", json={"a": picture(1), "b": picture(2)}))
        await asyncio.sleep(0)
        gate.opened.set()
        assert (await first).status_code == 200
        assert (await single).status_code == 200


def post(body: str, *headers: str) -> str:
    head = ("POST /v1/compare HTTP/1.1", "host: x", "content-type: application/json", *headers)
    return "\r\n".join((*head, f"content-length: {len(body)}", "", body))


@pytest.mark.anyio
@pytest.mark.usefixtures("none_read")
async def test_on_the_wire_what_is_turned_away_is_a_whole_problem_and_the_connection_goes_on(
    uncalibrated_models: Path,
) -> None:
    queue = Queue()
    async with seated(uncalibrated_models) as seat:
        await served(seat, uncalibrated_models)
        client = seat.deal()
        assert (await seat.ask(post("{no JSON"), client))[0] == 422
        door = seat.worker._server.door
        assert isinstance(door, Door)
        for _ in range(OFTEN + 1):
            door._pressure.felt(queue.still_full)
        for headers, given in (
            ((), None),
            (("x-request-id: a-1",), "a-1"),
            ((f"x-request-id: {'x' * 128}",), "x" * 128),
        ):
            door._pressure.felt(queue.still_full)
            status, body, head = await seat.ask(post("{no JSON", *headers), client)
            assert (status, body["code"], body["status"], body["retryable"]) == (429, "overloaded", 429, True)
            assert "retry-after: 4\r\n" in head.lower() + "\r\n"
            assert "content-type: application/problem+json" in head.lower()
            assert f"x-request-id: {body['request_id']}" in head
            assert body["request_id"] == given or (not given and len(body["request_id"]) == 32)
            assert "connection: close" not in head.lower()
        assert (await seat.ask(get("/health/ready"), client))[0] in (200, 503)
        assert (await seat.ask(get("/models"), client))[0] == 200
        queue.wait_s = None
        assert (await seat.ask(post("{no JSON"), client))[0] == 422
        queue.wait_s = 1.0
        door._pressure.felt(queue.still_full)
        status, _, head = await seat.ask(post("{no JSON", "connection: close"), client)
        assert status == 429
        assert "connection: close" in head.lower()
        assert await asyncio.to_thread(client.recv, 1) == b""
        client.close()
        await until(lambda: seat.closed() == 1)
