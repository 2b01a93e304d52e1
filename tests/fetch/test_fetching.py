"""Fetching, over real sockets and real TLS: pinned, bounded, and silent about the network behind."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator

import pytest
import trustme

from app.core.errors import DeadlineExceeded, InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.fetch.fetching import AT_ONCE, FAILED, MOST_REDIRECTS, Fetcher
from tests.fetch.hosts import (
    ALSO_PUBLIC,
    NAME,
    OTHER,
    PUBLIC,
    UNLISTED,
    Host,
    Internet,
    Names,
    Writer,
    answer,
    fetcher_of,
    redirect,
)

pytestmark = pytest.mark.anyio

A = f"https://{NAME}/a"


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with Host({"/a": answer(b"content")}).serving() as host:
        yield host


async def one(fetcher: Fetcher, url: str) -> bytes | TwinserveError:
    return (await fetcher.fetch([url]))[url]


def failed(outcome: bytes | TwinserveError) -> bool:
    """Whether it is the one failure that tells nothing of why."""
    return isinstance(outcome, UnusableInput) and outcome.detail == FAILED


async def forever(writer: Writer) -> None:
    """Begin an answer and drip bytes as long as the other side listens."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(writer: Writer) -> None:
    """Answer nothing."""
    while not writer.transport.is_closing():
        await asyncio.sleep(0.01)


async def endless(writer: Writer) -> None:
    """An answer of no declared length that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"400\r\n" + b"x" * 0x400 + b"\r\n")
        await writer.drain()


async def test_content_comes_from_the_checked_address_under_the_name(host: Host) -> None:
    internet, names = Internet(host), Names()
    host.answers["/a?x=%20y"] = answer(b"content")
    async with fetcher_of(host, internet=internet, names=names) as fetcher:
        assert await one(fetcher, A + "?x=%20y#part") == b"content"
    [head] = host.heads
    request, *headers = head.strip().split("\r\n")
    assert request == "GET /a?x=%20y HTTP/1.1"
    ours = ["Accept-Encoding: identity", "Accept: */*", "Connection: close", f"Host: {NAME}", "User-Agent: twinserve"]
    assert sorted(headers) == ours
    assert host.server_names == [NAME]
    assert internet.connected == [(PUBLIC, 443)]
    assert names.asked == [NAME]


async def test_equal_urls_are_fetched_once_and_each_url_has_its_own_outcome(host: Host) -> None:
    host.answers["/b"] = answer(b"other")
    async with fetcher_of(host) as fetcher:
        b, bad = f"https://{OTHER}:8443/b", "http://x"
        outcomes = await fetcher.fetch([A, b, A, bad, f"https://{NAME}/none"])
    assert (outcomes[A], outcomes[b]) == (b"content", b"other")
    assert isinstance(outcomes[bad], InvalidRequest)
    assert failed(outcomes[f"https://{NAME}/none"])
    assert len(host.heads) == 3


async def test_name_that_changes_its_address_after_the_check_gains_nothing(host: Host) -> None:
    names = Names({NAME: [[PUBLIC], ["127.0.0.1"]]})
    internet = Internet(host)
    async with fetcher_of(host, names=names, internet=internet) as fetcher:
        assert await one(fetcher, A) == b"content"
        assert names.asked == [NAME]  # what was checked is what was connected to: nothing asks again
        assert failed(await one(fetcher, A))
    assert names.asked == [NAME, NAME]
    assert internet.connected == [(PUBLIC, 443)]


async def test_name_that_changes_its_address_between_redirects_gains_nothing(host: Host) -> None:
    host.answers |= {"/a": redirect("/end"), "/end": answer(b"found")}
    internet = Internet(host)
    async with fetcher_of(host, names=Names({NAME: [[PUBLIC], ["10.0.0.1"]]}), internet=internet) as fetcher:
        assert failed(await one(fetcher, A))
    assert internet.connected == [(PUBLIC, 443)]
    assert len(host.heads) == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%lo"]
)
@pytest.mark.parametrize("beside", [[], [PUBLIC]])
async def test_name_with_an_address_that_is_not_public_is_not_connected_to(
    host: Host, address: str, beside: list[str]
) -> None:
    internet = Internet(host)
    async with fetcher_of(host, names=Names({NAME: [[*beside, address]]}), internet=internet) as fetcher:
        assert failed(await one(fetcher, A))
    assert internet.connected == []


async def test_next_address_is_tried_where_one_does_not_answer(host: Host) -> None:
    internet = Internet(host, dead=[ALSO_PUBLIC])
    async with fetcher_of(host, names=Names({NAME: [[ALSO_PUBLIC, PUBLIC]]}), internet=internet) as fetcher:
        assert await one(fetcher, A) == b"content"
    assert internet.connected == [(ALSO_PUBLIC, 443), (PUBLIC, 443)]
    internet = Internet(host, dead=[ALSO_PUBLIC, PUBLIC])
    async with fetcher_of(host, names=Names({NAME: [[ALSO_PUBLIC, PUBLIC]]}), internet=internet) as fetcher:
        assert failed(await one(fetcher, A))


async def test_certificate_must_be_of_a_trusted_authority_and_of_the_name(host: Host) -> None:
    stranger = Host(authority=trustme.CA()).trusted
    async with fetcher_of(host, trusted=stranger) as fetcher:
        assert failed(await one(fetcher, A))
    names = Names({UNLISTED: [[PUBLIC]]})
    async with fetcher_of(host, hosts=UNLISTED, names=names) as fetcher:
        assert failed(await one(fetcher, f"https://{UNLISTED}/a"))
    assert host.heads == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("location", ["/end", "end?", f"https://{OTHER}/end", f"//{OTHER}:8443/end", "./x/../end"])
async def test_redirect_to_a_listed_host_is_followed(host: Host, status: str, location: str) -> None:
    host.answers |= {"/a": redirect(location, status)} | dict.fromkeys(("/end", "/end?"), answer(b"found"))
    async with fetcher_of(host) as fetcher:
        assert await one(fetcher, A) == b"found"


@pytest.mark.parametrize(
    "location",
    [
        f"http://{NAME}/end",
        f"https://{UNLISTED}/end",
        f"https://{NAME}:8443/end",
        f"https://{NAME}@{UNLISTED}/end",
        "https://127.0.0.1/end",
        "https://[::1]/end",
        "https://2130706433/end",
        "https://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "//localhost/end",
        "https://[",
        "\\\\localhost\\end",
        "https://files.example.org/é",
    ],
)
async def test_redirect_to_anywhere_else_is_not(host: Host, location: str) -> None:
    host.answers |= {"/a": redirect(location), "/end": answer(b"found")}
    internet = Internet(host)
    async with fetcher_of(host, internet=internet) as fetcher:
        assert failed(await one(fetcher, A))
    assert internet.connected == [(PUBLIC, 443)]
    assert len(host.heads) == 1


async def test_redirect_to_a_listed_name_is_checked_anew(host: Host) -> None:
    host.answers |= {"/a": redirect(f"https://{OTHER}/end"), "/end": answer(b"found")}
    internet = Internet(host)
    names = Names({NAME: [[PUBLIC]], OTHER: [["10.0.0.1"]]})
    async with fetcher_of(host, names=names, internet=internet) as fetcher:
        assert failed(await one(fetcher, A))
    assert (names.asked, internet.connected) == ([NAME, OTHER], [(PUBLIC, 443)])


async def test_redirects_are_followed_three_times_and_no_more(host: Host) -> None:
    assert MOST_REDIRECTS == 3
    host.answers |= {f"/{step}": redirect(f"/{step + 1}") for step in range(4)} | {"/4": answer(b"found")}
    async with fetcher_of(host) as fetcher:
        assert await one(fetcher, f"https://{NAME}/1") == b"found"
        assert failed(await one(fetcher, f"https://{NAME}/0"))


@pytest.mark.parametrize(
    "bad",
    [
        answer(b"secret of the host", status="404 Not Found"),
        answer(b"secret of the host", status="500 Oops"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        answer(b"secret of the host", status="206 Partial Content"),
        answer(b"", status="302 Found"),
        b"secret of the host, which speaks no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret",
        answer(gzip.compress(b"0" * 1_000_000), "Content-Encoding: gzip"),
        answer(gzip.compress(b"0" * 1_000_000), "Content-Encoding: br"),
    ],
)
async def test_answer_without_content_is_one_failure_that_tells_nothing(
    host: Host, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(writer: Writer) -> None:
        writer.write(bad)

    host.answers["/a"] = send
    caplog.set_level(logging.INFO, logger="app")
    async with fetcher_of(host) as fetcher:
        outcome = await one(fetcher, A)
    assert failed(outcome)
    [record] = caplog.records
    assert record.__dict__["host"] == NAME
    assert record.__dict__["cause"]
    assert "secret" not in str(vars(record))
    assert "/a" not in record.__dict__["cause"]


async def test_compressed_content_under_no_encoding_comes_as_it_is(host: Host) -> None:
    packed = gzip.compress(b"0" * 1_000_000)
    host.answers["/a"] = answer(packed, "Content-Type: application/gzip")
    async with fetcher_of(host) as fetcher:
        assert await one(fetcher, A) == packed


async def test_more_bytes_than_allowed_are_refused_by_their_declared_length_unread(host: Host) -> None:
    async def declare(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10001\r\n\r\n")
        await silent(writer)

    host.answers["/a"] = declare
    async with fetcher_of(host, max_bytes=10_000) as fetcher:
        assert isinstance(await one(fetcher, A), TooLarge)


async def test_endless_content_is_cut_off_at_the_cap(host: Host) -> None:
    host.answers["/a"] = endless
    async with fetcher_of(host, max_bytes=10_000) as fetcher:
        assert isinstance(await one(fetcher, A), TooLarge)


async def test_cap_on_bytes_is_for_all_urls_of_a_request_together(host: Host) -> None:
    host.answers |= {f"/{name}": answer(b"x" * 400) for name in range(4)}
    urls = [f"https://{NAME}/{name}" for name in range(4)]
    async with fetcher_of(host, max_bytes=1_000) as fetcher:
        outcomes = list((await fetcher.fetch(urls)).values())
        assert sum(isinstance(outcome, TooLarge) for outcome in outcomes) == 2
        assert sum(outcome == b"x" * 400 for outcome in outcomes) == 2
        assert await one(fetcher, urls[0]) == b"x" * 400  # the next request has the whole of it again


@pytest.mark.parametrize("slow", [forever, silent])
async def test_slow_host_is_given_up_at_the_time_limit(host: Host, slow: object) -> None:
    host.answers |= {"/slow": slow, "/b": answer(b"quick")}  # type: ignore[dict-item]
    async with fetcher_of(host, timeout_s=1.0) as fetcher:
        began = asyncio.get_running_loop().time()
        outcomes = await fetcher.fetch([f"https://{NAME}/slow", f"https://{NAME}/b"])
        took = asyncio.get_running_loop().time() - began
    late, quick = outcomes.values()
    assert isinstance(late, DeadlineExceeded)
    assert quick == b"quick"
    assert 0.9 < took < 15


async def test_time_limit_counts_waiting_for_a_connection_and_no_more_than_a_few_are_open(host: Host) -> None:
    host.answers |= {f"/{name}": silent for name in range(AT_ONCE + 4)}
    async with fetcher_of(host, timeout_s=3.0) as fetcher:
        outcomes = await fetcher.fetch([f"https://{NAME}/{name}" for name in range(AT_ONCE + 4)])
        assert all(isinstance(outcome, DeadlineExceeded) for outcome in outcomes.values())
        assert host.most_open == AT_ONCE
        assert await one(fetcher, A) == b"content"  # what was given up is free again


async def test_fetches_of_a_caller_who_left_end(host: Host) -> None:
    host.answers["/slow"] = silent
    async with fetcher_of(host, timeout_s=60) as fetcher:
        task = asyncio.create_task(one(fetcher, f"https://{NAME}/slow"))
        while not host.heads:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while host.open:
            await asyncio.sleep(0.01)


async def test_proxies_of_the_environment_are_not_used(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, address)
        internet = Internet(host)
        async with fetcher_of(host, internet=internet) as fetcher:
            assert await one(fetcher, A) == b"content"
        assert internet.connected == [(PUBLIC, 443)]
        proxy.settimeout(0.01)
        with pytest.raises(TimeoutError):
            proxy.accept()
