"""Items as URLs, through the whole service: fetched over TLS, judged as their bytes are, refused in place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.access import Access
from app.core.errors import TwinserveError
from app.runtime.registry import Registry
from tests.api.test_keys import a_key
from tests.fetch.hosts import NAME, UNLISTED, Host, Names, Writer, answer, fetcher_of
from tests.serving import Gate, client_of, load, make_app, picture, problem
from tests.tiny import make_tiny, tiny_png

pytestmark = pytest.mark.anyio

URL = f"https://{NAME}/0-0.png"
PNGS = {f"/{identity}-{variant}.png": tiny_png(identity, variant) for identity in (0, 1) for variant in (0, 1)}


def lying(identity: int, variant: int = 0, **rest: Any) -> dict[str, Any]:
    """The item that `picture` gives, as the URL where it lies."""
    return {"url": f"https://{NAME}/{identity}-{variant}.png", **rest}


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    answers = {path: answer(png, "Content-Type: text/html") for path, png in PNGS.items()}
    async with Host({**answers, "/blank": answer(b"not a picture")}).serving() as host:
        yield host


@asynccontextmanager
async def behind(
    host: Host, registry: Registry, *, access: Access | None = None, **bounds: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application that fetches from the host."""
    given = {"max_bytes": 100_000, **bounds}
    async with fetcher_of(host, **given) as it, client_of(make_app(registry, fetch=it.fetch, access=access)) as client:
        yield client


@pytest.fixture
async def client(registry: Registry, host: Host) -> AsyncIterator[httpx.AsyncClient]:
    async with behind(host, registry) as client:
        yield client


async def test_item_behind_a_url_is_judged_as_its_bytes_are(client: httpx.AsyncClient) -> None:
    for a, b in (((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 0), (0, 0))):
        sent = (await client.post("/compare", json={"a": picture(*a), "b": picture(*b)})).json()
        for pair in ({"a": lying(*a), "b": lying(*b)}, {"a": lying(*a), "b": picture(*b)}):
            fetched = await client.post("/compare", json=pair)
            assert (fetched.status_code, fetched.json()) == (200, sent)


async def test_every_route_and_form_that_takes_an_item_takes_its_url(client: httpx.AsyncClient, host: Host) -> None:
    embedded = (await client.post("/embed", json={"inputs": [lying(0), lying(1), lying(0)]})).json()
    assert embedded == (await client.post("/embed", json={"inputs": [picture(0), picture(1), picture(0)]})).json()
    assert len(host.heads) == 2
    files = [{"id": "x", "items": [lying(1), lying(1, 1)]}, {"id": "y", "items": [lying(0, 1)]}]
    inline = [{"id": "x", "items": [picture(1), picture(1, 1)]}, {"id": "y", "items": [picture(0, 1)]}]
    matched = (await client.post("/match", json={"probe": lying(0), "references": files, "threshold": 0.5})).json()
    assert matched["best"] == "y"
    body = {"probe": picture(0), "references": inline, "threshold": 0.5}
    assert matched == (await client.post("/match", json=body)).json()
    parts: dict[str, tuple[str, str | bytes, str]] = {
        "a": ("a", json.dumps(lying(0)), "application/json"),
        "b": ("b", PNGS["/0-1.png"], "image/png"),
    }
    assert (await client.post("/compare", files=parts)).json()["verdict"] == "match"


async def test_in_a_batch_each_failure_is_its_pairs_own(client: httpx.AsyncClient) -> None:
    bad = [
        ({"url": f"https://{NAME}/none"}, "unusable_input"),
        ({"url": f"https://{UNLISTED}/a"}, "invalid_request"),
        ({"url": f"https://{NAME}/blank"}, "unusable_input"),
        ({"url": 5}, "invalid_request"),
        ({"url": None}, "invalid_request"),
        ({"url": [URL]}, "invalid_request"),
        ({"url": URL, "base64": ""}, "invalid_request"),
        ({"url": URL, "fingerprint": "x", "embedding": []}, "invalid_request"),
        ({"url": URL, "bytes": "x"}, "invalid_request"),
        ({"url": URL, "no-such-member": 1}, "invalid_request"),
    ]
    pairs = [{"a": lying(0), "b": item} for item, _ in bad] + [{"a": lying(0), "b": lying(0, 1)}]
    response = await client.post("/compare/batch", json={"pairs": pairs})
    assert response.status_code == 200
    *failures, good = response.json()["results"]
    assert good["verdict"] == "match"
    for index, (failure, (_, code)) in enumerate(zip(failures, bad, strict=True)):
        assert (failure["error"]["code"], failure["error"]["pointer"].split("/no-such")[0]) == (
            code,
            f"/pairs/{index}/b",
        )


async def test_alone_the_failure_is_the_requests_with_its_pointer(client: httpx.AsyncClient) -> None:
    none = {"url": f"https://{NAME}/none"}
    body = problem(await client.post("/compare", json={"a": picture(0), "b": none}), 422, "unusable_input", "/b")
    assert NAME not in body["detail"]
    assert "secret" not in body["detail"]
    problem(await client.post("/embed", json={"inputs": [lying(0), none]}), 422, "unusable_input", "/inputs/1")
    response = await client.post("/match", json={"probe": none, "references": [{"id": "x", "items": [lying(0)]}]})
    problem(response, 422, "unusable_input", "/probe")


async def test_more_bytes_than_allowed_and_a_slow_host_are_the_items_errors(registry: Registry, host: Host) -> None:
    async def silent(writer: Writer) -> None:
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)

    host.answers["/slow"] = silent
    async with behind(host, registry, max_bytes=20, timeout_s=1) as client:
        problem(await client.post("/compare", json={"a": lying(0), "b": picture(0)}), 413, "too_large", "/a")
        slow = {"a": picture(0), "b": {"url": f"https://{NAME}/slow"}}
        body = problem(await client.post("/compare", json=slow), 504, "deadline_exceeded", "/b")
        assert body["retryable"] is True


async def test_requests_own_deadline_ends_its_fetches(registry: Registry, host: Host) -> None:
    async def silent(writer: Writer) -> None:
        while not writer.transport.is_closing():
            await asyncio.sleep(0.01)

    host.answers["/slow"] = silent
    async with behind(host, registry, timeout_s=60) as client:
        slow = {"a": picture(0), "b": {"url": f"https://{NAME}/slow"}}
        response = await client.post("/compare", json=slow, headers={"X-Request-Timeout": "0.5"})
        problem(response, 504, "deadline_exceeded")
        while host.open:
            await asyncio.sleep(0.01)


async def test_bad_request_fetches_nothing(client: httpx.AsyncClient, host: Host) -> None:
    pair = {"a": lying(0), "b": lying(1)}
    problem(await client.post("/compare", json={**pair, "model": "none"}), 404, "unknown_model", "/model")
    response = await client.post("/compare", json={**pair, "operating_point": "none"})
    problem(response, 422, "operating_point_unavailable", "/operating_point")
    assert host.heads == []


async def test_fetching_holds_no_place_in_the_queue(host: Host) -> None:
    released = asyncio.Event()

    async def wait(writer: Writer) -> None:
        await released.wait()
        writer.write(answer(PNGS["/0-0.png"]))

    host.answers["/wait"] = wait
    gate = Gate()
    gate.opened.set()
    [model] = load(make_tiny())
    async with fetcher_of(host, max_bytes=100_000) as fetcher:
        app = make_app(gate.registry(model, queue_items=2), fetch=fetcher.fetch)
        async with client_of(app) as client:
            waits = {"a": {"url": f"https://{NAME}/wait"}, "b": picture(0, 1)}
            slow = asyncio.create_task(client.post("/compare", json=waits))
            while not host.heads:
                await asyncio.sleep(0.01)
            assert (await client.post("/compare", json={"a": picture(0), "b": picture(1)})).status_code == 200
            released.set()
            assert (await slow).json()["verdict"] == "match"


async def test_where_it_is_off_a_url_is_refused_saying_so(registry: Registry) -> None:
    async with client_of(make_app(registry)) as client:
        for item in (lying(0), {"url": 5}, {"url": URL, "base64": ""}):
            body = problem(
                await client.post("/compare", json={"a": picture(0), "b": item}), 422, "invalid_request", "/b"
            )
            assert "fetches no URLs" in body["detail"]


async def test_key_that_sees_verdicts_only_may_name_urls(registry: Registry, host: Host) -> None:
    access = Access([a_key("teller", disclosure="verdict")], lambda: 1)
    async with behind(host, registry, access=access, max_bytes=100_000) as client:
        pair = {"a": lying(0), "b": lying(0, 1)}
        response = await client.post("/compare", json=pair, headers={"X-API-Key": "teller"})
        assert (response.json()["verdict"], response.json()["score"]) == ("match", None)


async def test_nothing_is_asked_of_the_fetcher_for_items_at_hand(registry: Registry) -> None:
    async def never(urls: Collection[str], /) -> Mapping[str, bytes | TwinserveError]:
        raise AssertionError(urls)

    async with client_of(make_app(registry, fetch=never)) as client:
        assert (await client.post("/compare", json={"a": picture(0), "b": picture(1)})).status_code == 200
        assert (
            await client.post("/embed", content=tiny_png(0, 0), headers={"Content-Type": "image/png"})
        ).status_code == 200


async def test_names_are_resolved_once_for_a_request_of_many_items(registry: Registry, host: Host) -> None:
    names = Names()
    async with behind(host, registry, max_bytes=100_000, names=names) as client:
        pairs = [{"a": lying(0), "b": lying(0)}] * 10
        assert (await client.post("/compare/batch", json={"pairs": pairs})).status_code == 200
    assert names.asked == [NAME]
