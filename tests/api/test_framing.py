"""What a stranger can do with the framing of requests on one connection: over a real socket to a real worker."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from app.api import framing
from tests.test_worker import exchange, get, seated, until

pytestmark = pytest.mark.anyio

JSON = "content-type: application/json"
BODY = '{"a":1}'
CHUNKED = f"transfer-encoding: chunked\r\n\r\n7\r\n{BODY}\r\n0\r\n\r\n"
LENGTH = f"content-length: 7\r\n\r\n{BODY}"


def post(rest: str, *headers: str, path: str = "/compare", host: str = "host: x\r\n", version: str = "1.1") -> str:
    """A request up to and with its body, which `rest` begins with its own framing header."""
    return f"POST {path} HTTP/{version}\r\n{host}{JSON}\r\n" + "".join(f"{one}\r\n" for one in headers) + rest


def everything(client: socket.socket, *pieces: str) -> str:
    """Send pieces apart, and read to the end of the connection."""
    for piece in pieces:
        client.sendall(piece.encode("latin-1"))
    answer = b""
    while part := client.recv(65_536):
        answer += part
    return answer.decode("latin-1")


AMBIGUOUS = {
    "length beside chunks": post(CHUNKED, "content-length: 4"),
    "chunks beside length": post(LENGTH, "transfer-encoding: chunked"),
    "two lengths": post(LENGTH, "content-length: 70"),
    "two equal lengths": post(LENGTH, "content-length: 7"),
    "list of lengths": post(f"content-length: 7, 7\r\n\r\n{BODY}"),
    "signed length": post(f"content-length: +7\r\n\r\n{BODY}"),
    "hexadecimal length": post(f"content-length: 0x7\r\n\r\n{BODY}"),
    "length beyond 64 bits": post("content-length: " + "9" * 30 + "\r\n\r\n"),
    "coding that would be passed over": post(CHUNKED.replace("chunked", "gzip, chunked")),
    "coding of two headers": post(CHUNKED, "transfer-encoding: gzip"),
    "coding after chunks": post(CHUNKED, "transfer-encoding: identity"),
    "unknown coding": post(CHUNKED.replace("chunked", "xchunked")),
    "space before the colon": post(CHUNKED.replace("encoding:", "encoding :")),
    "chunks in HTTP/1.0": post(CHUNKED, version="1.0"),
    "folded header": post(LENGTH, "x-a: b\r\n c"),
    "bare line feeds": post(LENGTH).replace("\r\n", "\n"),
    "bare carriage return": get("/health/live").replace("host: x", "host: x\rx-a: y"),
    "NUL in a header": get("/health/live").replace("host: x", "host: x\r\nx-a: \0"),
    "no host": post(LENGTH, host=""),
    "two hosts": post(LENGTH, "host: y"),
    "chunk of no size": post(f"transfer-encoding: chunked\r\n\r\n-7\r\n{BODY}\r\n"),
    "chunk of too large a size": post("transfer-encoding: chunked\r\n\r\n" + "f" * 18 + "\r\n"),
    "chunk that does not end": post(f"transfer-encoding: chunked\r\n\r\n7\r\n{BODY}XX0\r\n\r\n"),
    "HTTP/0.9": "GET /health/live\r\n\r\n",
    "HTTP/2.0": get("/health/live").replace("1.1", "2.0"),
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "a" * 300,
    "tunnel": "CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
    "upgrade with a body far down its head": post(LENGTH, "x-a: " + "a" * 4000, "connection: upgrade", "upgrade: h2c"),
}


async def test_request_that_two_servers_could_read_differently_is_400_and_ends_its_connection(
    uncalibrated_models: Path,
) -> None:
    async with seated(uncalibrated_models) as seat:
        for name, request in AMBIGUOUS.items():
            client = seat.deal()
            answer = await asyncio.to_thread(everything, client, request + get("/health/live"))
            client.close()
            assert answer.startswith("HTTP/1.1 400 "), name
            assert answer.count("x-request-id: ") == 1, name
            assert '"code":"invalid_request"' in answer, name


async def test_unusual_but_plain_requests_are_taken(uncalibrated_models: Path) -> None:
    usual = {
        "chunk extension": post(CHUNKED.replace("7\r\n", "7;a=b\r\n", 1)),
        "trailer": post(CHUNKED[:-2] + "x-request-id: evil\r\n\r\n"),
        "absolute target": post(LENGTH, path="http://x/compare"),
        "body that is waited for": post(LENGTH, "expect: something-else"),
        "HTTP/1.0 without a host": post(LENGTH, host="", version="1.0"),
    }
    async with seated(uncalibrated_models) as seat:
        for name, request in usual.items():
            status, body, head = await seat.ask(request)
            assert (status, body["pointer"]) == (422, "/a"), name
            assert "x-request-id: evil" not in head


async def test_offer_of_another_protocol_is_passed_over_and_the_body_stays_a_body(uncalibrated_models: Path) -> None:
    """Java's client offers HTTP/2 so; the parser took the body for a request of its own."""
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAAA")
    inner = get("/health/live")
    smuggled = post(f"content-length: {len(inner)}\r\n\r\n", *offer)
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        client.sendall(smuggled.encode())
        await asyncio.sleep(0.05)  # the body in a packet of its own
        assert (await seat.ask(inner, client))[0] == 422  # no JSON
        status, body, _ = await seat.ask(post(LENGTH, *offer), client)
        assert (status, body["pointer"]) == (422, "/a")
        client.close()


@pytest.mark.parametrize("count", [framing.MAX_HEADERS, 5000, 20_000])
async def test_flood_of_headers_is_431(uncalibrated_models: Path, count: int) -> None:
    async with seated(uncalibrated_models) as seat:
        flood = "".join(f"x{number}: y\r\n" for number in range(count))
        status, body, _ = await seat.ask(f"GET /health/live HTTP/1.1\r\nhost: x\r\n{flood}\r\n")
        assert (status, body["code"]) == (431, "too_large")


async def test_large_head_in_one_piece_with_its_body_is_431(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        request = post(LENGTH, "x-a: " + "a" * (framing.HEAD_BYTES + 1))
        assert (await seat.ask(request))[0] == 431


@pytest.mark.parametrize("flood", ["7;" + "a" * 500_000, f"7\r\n{BODY}\r\n0\r\nx: " + "a" * 500_000])
async def test_chunk_extension_or_trailer_without_end_is_refused(uncalibrated_models: Path, flood: str) -> None:
    async with seated(uncalibrated_models) as seat:
        client = seat.deal()
        client.sendall(post("transfer-encoding: chunked\r\n\r\n").encode())
        status, body, _ = await seat.ask(flood, client)
        assert (status, "framing" in body["detail"]) == (400, True)
        client.close()


async def test_flood_of_trailers_is_refused(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        flood = "".join(f"x{number}: y\r\n" for number in range(20_000))
        status, _, _ = await seat.ask(post(CHUNKED[:-2] + flood))
        assert status in (400, 431)


async def test_large_body_in_small_chunks_is_taken(uncalibrated_models: Path) -> None:
    async with seated(uncalibrated_models) as seat:
        chunks = "".join(f"10\r\n{' ' * 16}\r\n" for _ in range(20_000))
        status, body, _ = await seat.ask(post(f"transfer-encoding: chunked\r\n\r\n{chunks}7\r\n{BODY}\r\n0\r\n\r\n"))
        assert (status, body["pointer"]) == (422, "/a")


async def test_rest_of_a_refused_body_is_dropped_for_a_while_and_no_longer(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "LINGER_S", 0.5)
    async with seated(uncalibrated_models, max_body_bytes=1024) as seat:
        client = seat.deal()
        status, _, _ = await seat.ask(post("content-length: 100000\r\n\r\n"), client)
        assert status == 413
        client.sendall(b"x" * 100_000)  # in time: the connection goes on
        assert (await seat.ask(get("/health/live"), client))[0] == 200
        status, _, _ = await seat.ask(post("content-length: 9000000000\r\n\r\n"), client)
        assert status == 413
        began = asyncio.get_running_loop().time()
        await until(lambda: seat.closed() == 1)  # though its client never stops
        assert asyncio.get_running_loop().time() - began > 0.3
        client.close()


async def test_refused_request_does_not_close_the_next_one_of_its_connection(
    uncalibrated_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "LINGER_S", 0.2)
    async with seated(uncalibrated_models, max_body_bytes=1024) as seat:
        client = seat.deal()
        refused = post(f"content-length: 2000\r\n\r\n{'x' * 2000}")
        assert (await asyncio.to_thread(exchange, client, refused.encode())).startswith(b"HTTP/1.1 413")
        client.sendall(post("content-length: 7\r\n\r\n").encode())
        await asyncio.sleep(0.5)
        assert (await seat.ask(BODY, client))[0] == 422
        client.close()
