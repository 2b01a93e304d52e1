"""The door: request ids, slots, sizes, deadlines, clients that go away, and no failure without a problem."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.door import BODIES, Door
from app.core.errors import Internal, NotReady
from app.core.observe import ModelState, Readiness
from app.runtime.registry import Registry
from tests.serving import Gate, Recorder, altered, client_of, load, make_app, picture, problem
from tests.tiny import make_tiny

pytestmark = pytest.mark.anyio

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


async def test_every_answer_has_a_request_id(client: httpx.AsyncClient) -> None:
    seen = set()
    for method, path in (("GET", "/health/live"), ("GET", "/nope"), ("PUT", "/compare"), ("POST", "/compare")):
        response = await client.request(method, path)
        seen.add(response.headers["x-request-id"])
    assert len(seen) == 4


async def test_callers_request_id_is_kept_if_it_is_harmless(client: httpx.AsyncClient) -> None:
    for given in ("abc-1.2_3", "x" * 128):
        response = await client.get("/health/live", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given
    for given in ("x" * 129, "a b", "", "é", 'a"b'):
        response = await client.get("/health/live", headers={b"X-Request-ID": given.encode("latin-1")})
        assert len(response.headers["x-request-id"]) == 32


async def test_unknown_route_and_method_are_problems(client: httpx.AsyncClient) -> None:
    for path in ("/nope", "/compare/", "/v2/compare", "/docs/../x", "/docs/unknown.js"):
        body = problem(await client.get(path), 404, "not_found")
        assert "nope" not in body["detail"]
    response = await client.get("/compare")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    response = await client.post("/v1/models")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD"


async def test_full_service_refuses_at_the_door_but_tells_how_it_is(tiny: Registry) -> None:
    gate = Gate()
    async with client_of(make_app(gate.registry(next(iter(tiny))), max_requests=1)) as client:
        first = asyncio.create_task(client.post("/compare", json=PAIR))
        await gate.wait_started()
        response = await client.post("/compare", content=b"never read", headers=JSON)
        body = problem(response, 429, "overloaded")
        assert body["retryable"] is True
        assert int(response.headers["retry-after"]) >= 1
        for path in ("/health/live", "/health/ready", "/metrics", "/docs", "/v1/health/live", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        gate.opened.set()
        assert (await first).status_code == 200
        assert (await client.post("/compare", json=PAIR)).status_code == 200


async def test_full_queue_refuses_all_or_nothing(tiny: Registry) -> None:
    gate = Gate()
    async with client_of(make_app(gate.registry(next(iter(tiny)), queue_items=3))) as client:
        first = asyncio.create_task(client.post("/compare", json=PAIR))
        await gate.wait_started()
        response = await client.post("/compare", json={"a": picture(1), "b": picture(2)})
        problem(response, 429, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        four = {"inputs": [picture(identity) for identity in range(4)]}
        problem(await client.post("/embed", json=four), 413, "too_large")
        gate.opened.set()
        assert (await first).status_code == 200


async def test_no_model_yet_is_not_ready() -> None:
    def none() -> Registry:
        raise NotReady("no model is loaded yet; try again", retry_after_s=2.5)

    app = make_app(none, readiness=lambda: Readiness(False, {"tiny@1.0.0": ModelState(False, "loading")}))
    async with client_of(app) as client:
        for response in (await client.post("/compare", json=PAIR), await client.get("/models")):
            problem(response, 503, "not_ready")
            assert response.headers["retry-after"] == "3"
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"ready": False, "models": {"tiny@1.0.0": {"ready": False, "reason": "loading"}}}
        assert (await client.get("/health/live")).status_code == 200


async def test_body_beyond_the_limit_is_too_large_by_length_and_by_count(tiny: Registry) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with client_of(make_app(tiny, max_body_bytes=1000)) as client:
        problem(await client.post("/compare", content=b"x" * 1001, headers=JSON), 413, "too_large")
        problem(await client.post("/compare", content=chunks(), headers=JSON), 413, "too_large")
        problem(await client.post("/compare", content=b"x" * 1000, headers=JSON), 422, "invalid_request")


async def test_body_declared_too_large_is_refused_unread(tiny: Registry) -> None:
    app = make_app(tiny, max_body_bytes=1000)
    [start, _] = await exchange(app, [], headers=[(b"content-length", b"1001")])
    assert start["status"] == 413


async def test_request_that_takes_too_long_is_ended_and_its_items_dropped(tiny: Registry) -> None:
    gate = Gate()
    async with client_of(make_app(gate.registry(next(iter(tiny))))) as client:
        response = await client.post("/compare", json=PAIR, headers={"X-Request-Timeout": "0.2"})
        body = problem(response, 504, "deadline_exceeded")
        assert body["retryable"] is True
        gate.opened.set()
        assert (await client.post("/compare", json={"a": picture(1), "b": picture(2)})).status_code == 200
        assert len(gate.ran) == 3  # the one that ran already, not its neighbour in the queue, and the two new ones


async def test_timeout_header_can_only_shorten(tiny: Registry) -> None:
    gate = Gate()
    async with client_of(make_app(gate.registry(next(iter(tiny))), request_timeout_ms=200)) as client:
        response = await client.post("/compare", json=PAIR, headers={"X-Request-Timeout": "3600"})
        problem(response, 504, "deadline_exceeded")
        gate.opened.set()


async def test_bad_timeout_header_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    for given in ("0", "-1", "soon", "nan", "inf", "1_0", ""):
        response = await client.post("/compare", json=PAIR, headers={"X-Request-Timeout": given})
        problem(response, 422, "invalid_request")


async def test_body_that_does_not_arrive_in_time_is_a_client_timeout(tiny: Registry) -> None:
    never = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await never.wait()

    async with client_of(make_app(tiny, request_timeout_ms=100)) as client:
        body = problem(await client.post("/compare", content=slow(), headers=JSON), 408, "client_timeout")
        assert body["retryable"] is True


async def test_bodies_under_way_hold_so_many_bytes_and_no_more(tiny: Registry) -> None:
    """One request short of its end each: slots alone would let 256 of them hold 32 MiB each."""
    stuck, begun = asyncio.Event(), 0

    async def most_of_one() -> AsyncIterator[bytes]:
        nonlocal begun
        yield b"[" + b" " * 899
        begun += 1
        await stuck.wait()
        yield b"]"

    async with client_of(make_app(tiny, max_body_bytes=1000)) as client:
        holding = [
            asyncio.create_task(client.post("/compare", content=most_of_one(), headers=JSON)) for _ in range(BODIES)
        ]
        async with asyncio.timeout(20):
            while begun < BODIES:
                await asyncio.sleep(0.005)
        response = await client.post("/compare", content=b" " * 1000, headers=JSON)
        problem(response, 429, "overloaded")
        assert response.headers["retry-after"] == "1"
        small = await client.post("/compare", content=b"[]", headers=JSON)
        problem(small, 422, "invalid_request")  # there is room for it
        stuck.set()
        for response in await asyncio.gather(*holding):
            problem(response, 422, "invalid_request")
        problem(await client.post("/compare", content=b" " * 1000, headers=JSON), 422, "invalid_request")


async def exchange(
    app: ASGIApp, incoming: list[Message], headers: list[tuple[bytes, bytes]], last: asyncio.Event | None = None
) -> list[Message]:
    """Speak ASGI: these messages in; after them a disconnect once `last` is set. Returns what was sent."""
    sent: list[Message] = []

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        if last is None:
            raise AssertionError("the body was read")
        await last.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": "/compare",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
    }
    await app(scope, receive, send)
    return sent


async def test_disconnect_cancels_the_request_and_drops_its_items(tiny: Registry) -> None:
    gate, gone, recorder = Gate(), asyncio.Event(), Recorder()
    app = make_app(gate.registry(next(iter(tiny))), observer=recorder, max_requests=1)
    content = httpx.Request("POST", "http://x", json=PAIR).content
    body: Message = {"type": "http.request", "body": content, "more_body": False}
    task = asyncio.create_task(exchange(app, [body], [], gone))
    await gate.wait_started()
    gone.set()
    assert await asyncio.wait_for(task, 5) == []  # ends while the gate is still shut
    assert recorder.requests == [("/compare", 499)]
    gate.opened.set()
    async with client_of(app) as client:  # its slot is free again, and so are its places
        assert (await client.post("/compare", json={"a": picture(1), "b": picture(2)})).status_code == 200
    assert len(gate.ran) == 3


async def test_disconnect_in_the_middle_of_a_body_ends_quietly(
    tiny: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()
    gone.set()
    part: Message = {"type": "http.request", "body": b"{", "more_body": True}
    assert await exchange(make_app(tiny), [part], [], gone) == []
    assert caplog.records == []


async def test_unexpected_failure_is_a_problem_without_a_trace_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Registry:
        raise ValueError("/secret/path")

    async with client_of(make_app(broken)) as client:
        response = await client.post("/compare", json=PAIR)
        body = problem(response, 500, "internal")
        assert "secret" not in response.text
        assert body["retryable"] is False
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.__dict__["request_id"] == body["request_id"]


async def test_failure_after_the_answer_began_does_not_begin_another(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Internal("too late")

    door = Door(app, observer=Recorder(), max_body_bytes=10, request_timeout_ms=1000, max_requests=1)
    [start] = await exchange(door, [], [])
    assert start["status"] == 200
    assert caplog.records == []


async def test_observer_hears_of_routes_not_paths(tiny: Registry) -> None:
    recorder = Recorder()
    [model] = tiny
    async with client_of(make_app(altered(model, observer=recorder), observer=recorder)) as client:
        await client.get("/v1/models/tiny")
        await client.get("/secret")
        await client.post("/compare", json=PAIR)
        bad = {"a": {"base64": "AAAA"}, "b": picture(1)}
        await client.post("/compare/batch", json={"pairs": [bad, PAIR]})
    assert recorder.requests == [
        ("/models/{name}", 200),
        ("unmatched", 404),
        ("/compare", 200),
        ("/compare/batch", 200),
    ]
    assert recorder.codes == ["not_found", "unusable_input"]
    assert recorder.verdicts == [("tiny@1.0.0", "fmr_1e-3", "match")] * 2
    assert recorder.prepared_items == 6
