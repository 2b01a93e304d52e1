"""Published below a path, the service answers alike whether or not its gateway takes that path off."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from app.runtime.registry import Registry
from tests.serving import Recorder, client_of, make_app, picture, problem

pytestmark = pytest.mark.anyio

ROOT = "/similarity"
PAIR = {"a": picture(0, 0), "b": picture(0, 1)}


@pytest.fixture
async def below(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, published below ROOT."""
    async with client_of(make_app(registry, root_path=ROOT)) as client:
        yield client


@pytest.mark.parametrize("prefix", ["", ROOT, f"{ROOT}/v1", "/v1"])
async def test_every_kind_of_route_answers_stripped_or_not(below: httpx.AsyncClient, prefix: str) -> None:
    assert (await below.post(f"{prefix}/compare", json=PAIR)).status_code == 200
    for path in ("/models", "/models/tiny", "/health/ready", "/docs", "/docs/start.js", "/openapi.json", "/metrics"):
        assert (await below.get(prefix + path)).status_code == 200, path
    problem(await below.get(f"{prefix}/compare"), 405, "method_not_allowed")
    problem(await below.get(f"{prefix}/nope"), 404, "not_found")


async def test_only_a_whole_part_of_a_path_is_the_root_path(below: httpx.AsyncClient) -> None:
    for path in (ROOT, f"{ROOT}/", f"{ROOT}x/compare", f"{ROOT}compare", f"{ROOT}{ROOT}/compare", f"/v1{ROOT}/compare"):
        problem(await below.post(path, json=PAIR), 404, "not_found")


async def test_without_the_setting_there_is_no_such_path(client: httpx.AsyncClient) -> None:
    problem(await client.post(f"{ROOT}/compare", json=PAIR), 404, "not_found")


async def test_openapi_says_where_callers_find_the_routes(below: httpx.AsyncClient) -> None:
    document = (await below.get("/openapi.json")).json()
    servers = [server["url"] for server in document["servers"]]
    assert servers == [ROOT, f"{ROOT}/v1"]
    for server in servers:
        for path, operations in document["paths"].items():
            if "get" in operations:
                assert (await below.get(server + path.replace("{name}", "tiny"))).status_code == 200


async def test_docs_find_their_parts_below_the_path(below: httpx.AsyncClient) -> None:
    page = httpx.URL(f"http://twinserve{ROOT}/docs")
    text = (await below.get(page)).text
    parts = [*re.findall(r'(?:src|href)="([^"]+)"', text), "openapi.json"]
    assert len(parts) == 5
    for part in parts:
        address = page.join(part)
        assert address.path.startswith(f"{ROOT}/")
        assert (await below.get(address)).status_code == 200


async def test_metrics_name_the_route_without_the_path(registry: Registry) -> None:
    recorder = Recorder()
    async with client_of(make_app(registry, root_path=ROOT, observer=recorder)) as client:
        await client.post(f"{ROOT}/v1/compare", json=PAIR)
    assert recorder.requests == [("/compare", 200)]


async def test_health_below_the_path_takes_no_slot(registry: Registry) -> None:
    async with client_of(make_app(registry, root_path=ROOT, max_requests=0)) as client:
        problem(await client.post(f"{ROOT}/compare", json=PAIR), 429, "overloaded")
        assert (await client.get(f"{ROOT}/health/live")).status_code == 200
        assert (await client.get("/health/live")).status_code == 200
