"""Answers of the routes that compute say where their time went, in the header that browsers show."""

from __future__ import annotations

import re

import httpx
import pytest

from app.runtime.registry import INLINE_BYTES, Registry
from tests.serving import b64, client_of, load, make_app, picture
from tests.tiny import make_tiny, tiny_png

pytestmark = pytest.mark.anyio

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
FILE = {"probe": picture(0, 0), "references": [{"id": "x", "items": [picture(1, 0)]}]}
BODIES = {
    "/compare": PAIR,
    "/compare/batch": {"pairs": [PAIR, PAIR]},
    "/match": FILE,
    "/embed": {"inputs": [picture(0, 0)]},
}


@pytest.fixture(scope="module")
def tiny() -> Registry:
    return load(make_tiny())


def steps(answer: httpx.Response) -> dict[str, float]:
    """Milliseconds by step, as the header says; it is there once and well formed."""
    [header] = answer.headers.get_list("server-timing")
    parts = [re.fullmatch(r"([a-z]+);dur=([0-9]+\.[0-9]{3})", part) for part in header.split(", ")]
    return {part[1]: float(part[2]) for part in parts if part is not None} if all(parts) else {}


@pytest.mark.parametrize("route", BODIES)
async def test_steps_add_up_to_no_more_than_the_whole(tiny: Registry, route: str) -> None:
    async with client_of(make_app(tiny)) as client:
        answer = await client.post(route, json=BODIES[route])
    assert answer.status_code == 200
    found = steps(answer)
    scoring = [] if route == "/embed" else ["scoring"]
    assert list(found) == ["queue", "prepare", "inference", *scoring, "total"]
    total = found.pop("total")
    assert sum(found.values()) <= total + 0.005
    assert found["inference"] > 0
    assert found["prepare"] > 0


async def test_a_large_item_is_prepared_before_it_waits(tiny: Registry) -> None:
    large = tiny_png(0, 0) + bytes(INLINE_BYTES)
    async with client_of(make_app(tiny)) as client:
        answer = await client.post("/compare", json={"a": {"base64": b64(large)}, "b": picture(0, 1)})
    assert answer.status_code == 200
    assert list(steps(answer)) == ["prepare", "queue", "inference", "scoring", "total"]


async def test_an_item_that_fails_took_its_time_to_be_prepared(tiny: Registry) -> None:
    bad = {"base64": b64(tiny_png(0, 0)[:40])}
    async with client_of(make_app(tiny)) as client:
        answer = await client.post("/compare", json={"a": bad, "b": bad})
    assert answer.status_code == 422
    found = steps(answer)
    assert found["prepare"] > 0
    assert found["inference"] == 0


async def test_embeddings_brought_back_take_scoring_only(tiny: Registry) -> None:
    async with client_of(make_app(tiny)) as client:
        body = (await client.post("/embed", json={"inputs": [picture(0, 0)]})).json()
        item = {"embedding": body["embeddings"][0], "fingerprint": body["fingerprint"]}
        answer = await client.post("/compare", json={"a": item, "b": item})
    assert list(steps(answer)) == ["scoring", "total"]


async def test_routes_that_compute_nothing_and_requests_refused_before_have_none(tiny: Registry) -> None:
    async with client_of(make_app(tiny)) as client:
        for answer in (
            await client.get("/models"),
            await client.get("/health/ready"),
            await client.post("/compare", json={"a": PAIR["a"]}),
        ):
            assert "server-timing" not in answer.headers
