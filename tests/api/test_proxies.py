"""What a request says of its caller is believed only of proxies that are trusted, and of nobody by default."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from app.api.proxies import Proxies
from app.runtime.registry import Registry
from tests.api.test_server import post
from tests.serving import make_app
from tests.test_worker import seated, until

pytestmark = pytest.mark.anyio

OURS = Proxies([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


def caller(peer: str | None, *lines: str, proto: str | None = None) -> tuple[str | None, str | None]:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    headers += [] if proto is None else [(b"x-forwarded-proto", proto.encode())]
    scope = {"type": "http", "client": None if peer is None else (peer, 4711), "scheme": "http", "headers": headers}
    found = OURS.caller(scope)
    assert set(found) == {"client", "scheme"}
    return found["client"], found["scheme"]


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        ("10.1.2.3", ["192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),  # the caller made up the first
        ("10.1.2.3", ["198.51.100.1, 192.0.2.7, 10.9.9.9"], "192.0.2.7"),  # two proxies of ours in a row
        ("10.1.2.3", ["198.51.100.1", "192.0.2.7"], "192.0.2.7"),  # a proxy that adds a line of its own
        ("10.1.2.3", ["10.4.4.4, 10.9.9.9"], "10.4.4.4"),  # a caller inside: the furthest
        ("10.1.2.3", ["192.0.2.7:4711"], "192.0.2.7"),
        ("10.1.2.3", ["[2001:db9::7]:4711"], "2001:db9::7"),
        ("2001:db8::1", ["2001:DB9::7"], "2001:db9::7"),
        ("::ffff:10.1.2.3", ["192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", [" , "], "10.1.2.3"),
        ("10.1.2.3", ["192.0.2.7, unknown"], None),
        ("10.1.2.3", ["192.0.2.7\xff"], None),
        ("192.0.2.66", ["192.0.2.7"], "192.0.2.66"),  # not ours, so that its word counts for nothing
        (None, ["192.0.2.7"], None),
    ],
)
def test_client_is_the_last_address_that_is_none_of_our_proxies(
    peer: str | None, lines: list[str], expected: str | None
) -> None:
    assert caller(peer, *lines)[0] == expected


def test_scheme_is_what_a_proxy_of_ours_says() -> None:
    assert caller("10.1.2.3", proto="https")[1] == "https"
    assert caller("10.1.2.3", proto="HTTP, https")[1] == "https"  # the nearest proxy's word
    assert caller("10.1.2.3", proto="gopher")[1] == "http"
    assert caller("10.1.2.3")[1] == "http"
    assert caller("192.0.2.66", proto="https")[1] == "http"


async def ask(registry: Registry, proxies: Proxies | None, peer: str) -> None:
    transport = httpx.ASGITransport(make_app(registry, proxies=proxies), client=(peer, 4711))
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    async with httpx.AsyncClient(transport=transport, base_url="http://twinserve") as client:
        assert (await client.get("/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "peer", "expected"),
    [
        (OURS, "10.1.2.3", {"client": "192.0.2.7", "scheme": "https"}),
        (OURS, "192.0.2.66", {"client": "192.0.2.66", "scheme": "http"}),
        (None, "10.1.2.3", {}),
    ],
)
async def test_log_line_names_the_caller_where_proxies_are_trusted_and_nobody_by_default(
    registry: Registry,
    caplog: pytest.LogCaptureFixture,
    proxies: Proxies | None,
    peer: str,
    expected: dict[str, str],
) -> None:
    with caplog.at_level(logging.INFO, "app.api.door"):
        await ask(registry, proxies, peer)
    [record] = [record for record in caplog.records if record.message == "request"]
    assert {name: getattr(record, name) for name in ("client", "scheme") if hasattr(record, name)} == expected


async def test_worker_believes_the_proxies_of_its_settings_even_of_a_request_that_it_turns_away(
    uncalibrated_models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who sends too much is what an operator asks first; a turned-away request never reaches the application."""
    async with seated(
        uncalibrated_models, max_requests=1, trusted_proxies="127.0.0.0/8", root_path="/similarity"
    ) as seat:
        with caplog.at_level(logging.INFO, "app.api.door"):
            busy, client = seat.deal(), seat.deal()
            busy.sendall(post("/similarity/compare", "x" * 100).encode())  # its body does not come
            await until(lambda: seat.worker._server.door._free == 0)
            request = post("/similarity/compare", "{}").replace("host: x", "host: x\r\nx-forwarded-for: 192.0.2.7")
            assert (await seat.ask(request, client))[0] == 429
            client.sendall(b"{}")
            assert (await seat.ask("GET /similarity/health/live HTTP/1.1\r\nhost: x\r\n\r\n", client))[0] == 200
            busy.close()
            client.close()
    told = [getattr(record, "client", None) for record in caplog.records if getattr(record, "status", None) == 429]
    assert told == ["192.0.2.7"]
