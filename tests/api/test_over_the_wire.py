"""The application behind a real uvicorn on a real port: what only a network can show."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest

from app.runtime.registry import Registry
from tests.serving import Gate, Recorder, load, make_app, picture, problem, serve
from tests.tiny import make_tiny, tiny_png

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


def wait_until(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines, "", "")).encode()


def test_json_multipart_and_raw_bodies_over_tcp(tiny: Registry) -> None:
    with serve(make_app(tiny)) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        plain = client.post("/compare", json=PAIR)
        files = {"a": ("a.png", tiny_png(0, 0), "image/png"), "b": ("b.png", tiny_png(0, 1), "image/png")}
        assert plain.status_code == 200
        assert client.post("/v1/compare", files=files).json() == plain.json()
        raw = client.post("/embed", content=tiny_png(0, 0), headers={"Content-Type": "image/png"})
        assert len(raw.json()["embeddings"]) == 1
        chunked = client.post("/embed", content=iter([tiny_png(0, 0)]), headers={"Content-Type": "image/png"})
        assert chunked.json() == raw.json()
        assert client.head("/health/live").status_code == 200
        assert client.get("/docs").status_code == 200


def test_connection_survives_a_body_that_is_too_large(tiny: Registry) -> None:
    with (
        serve(make_app(tiny, max_body_bytes=1000)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for content in (b"x" * 200_000, iter([b"x" * 500] * 400)):
            response = client.post("/compare", content=content, headers={"Content-Type": "application/json"})
            problem(response, 413, "too_large")
            assert client.get("/health/live").status_code == 200


def test_client_that_expects_to_continue_is_refused_before_it_sends(tiny: Registry) -> None:
    with serve(make_app(tiny, max_body_bytes=1000)) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head("/compare", "Content-Length: 1001", "Expect: 100-continue"))
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_slow_body_is_a_client_timeout(tiny: Registry) -> None:
    with serve(make_app(tiny, request_timeout_ms=200)) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head("/compare", "Content-Length: 100") + b"{")
        answer = client.recv(4096)
        while b"}" not in answer:  # head and body may come apart
            answer += client.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"client_timeout"' in answer


def test_closed_connection_cancels_its_request(tiny: Registry) -> None:
    gate, recorder = Gate(), Recorder()
    body = json.dumps(PAIR).encode()
    with serve(make_app(gate.registry(next(iter(tiny))), observer=recorder, max_requests=1)) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head("/compare", f"Content-Length: {len(body)}") + body)
            assert gate.started.wait(10)
        wait_until(lambda: recorder.requests)
        assert recorder.requests == [("/compare", 499)]
        gate.opened.set()
        answer = httpx.post(f"http://127.0.0.1:{port}/compare", json=PAIR)
        assert answer.status_code == 200
        wait_until(lambda: len(gate.ran) == 3)


def test_many_clients_at_once_all_get_their_own_answer(tiny: Registry) -> None:
    with serve(make_app(tiny)) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        pairs = [(picture(i), picture(i, 1)) for i in range(8)]
        expected = [client.post("/compare", json={"a": a, "b": b}).json()["score"] for a, b in pairs]
        found: list[list[float]] = [[] for _ in pairs]

        def ask(index: int) -> None:
            a, b = pairs[index]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as own:
                for _ in range(10):
                    found[index].append(own.post("/compare", json={"a": a, "b": b}).json()["score"])

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(pairs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    for score, scores in zip(expected, found, strict=True):
        assert scores == pytest.approx([score] * 10, abs=1e-6)
