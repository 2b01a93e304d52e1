"""The OpenAPI document is true: its examples work, answers have the shapes it gives, references lead somewhere."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from app.api import answers
from app.api.openapi import describe_api
from tests.serving import problem

pytestmark = pytest.mark.anyio

DOCUMENT: dict[str, Any] = json.loads(json.dumps(describe_api()))
POSTS = [path for path, operations in DOCUMENT["paths"].items() if "post" in operations]
EXAMPLES = [
    (path, name)
    for path in POSTS
    for name in DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
]


def answer_of(path: str, method: str, status: str = "200") -> type[BaseModel]:
    schema = DOCUMENT["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
    model: type[BaseModel] = getattr(answers, schema["$ref"].rpartition("/")[2])
    return model


@pytest.mark.parametrize(("path", "name"), EXAMPLES)
@pytest.mark.parametrize("prefix", [server["url"].rstrip("/") for server in DOCUMENT["servers"]])
async def test_example_works_and_its_answer_has_the_shape(
    client: httpx.AsyncClient, prefix: str, path: str, name: str
) -> None:
    example = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    response = await client.post(prefix + path, json=example)
    assert response.status_code == 200, response.text
    answer_of(path, "post").model_validate_json(response.content)


async def test_every_get_answers_in_its_shape(client: httpx.AsyncClient) -> None:
    for path, operations in DOCUMENT["paths"].items():
        if "get" in operations and path != "/metrics":
            response = await client.get(path.replace("{name}", "tiny"))
            assert response.status_code == 200
            answer_of(path, "get").model_validate_json(response.content)


def test_every_post_has_examples_and_problems() -> None:
    assert {path for path, _ in EXAMPLES} == set(POSTS) == {"/compare", "/compare/batch", "/match", "/embed"}
    for path in POSTS:
        responses = DOCUMENT["paths"][path]["post"]["responses"]
        assert {"404", "408", "409", "413", "415", "422", "429", "500", "503", "504"} < set(responses)
        assert set(responses["422"]["content"]) == {"application/problem+json"}


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'"\$ref": "([^"]*)"', json.dumps(DOCUMENT)))
    names = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert references <= names
    assert names - references == set()


async def test_problems_have_the_shape(client: httpx.AsyncClient) -> None:
    response = await client.post("/compare", json={})
    problem(response, 422, "invalid_request")
    answers.Problem.model_validate_json(response.content)


async def test_every_route_is_documented_or_is_the_documentation(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/openapi.json", "/v1/docs", "/v1/openapi.json"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/v1/openapi.json")).json() == DOCUMENT
    assert set(DOCUMENT["paths"]) == {
        *POSTS,
        "/models",
        "/models/{name}",
        "/health/live",
        "/health/ready",
        "/metrics",
    }


def test_query_parameters_are_those_that_the_route_takes() -> None:
    described = {p["name"] for p in DOCUMENT["paths"]["/compare"]["post"]["parameters"] if p["in"] == "query"}
    assert described == {"model", "operating_point", "max_fmr", "max_fnmr", "threshold", "impostor", "prior", "include"}


async def test_docs_ask_no_other_host(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/v1/docs"):
        page = await client.get(path)
        assert "//" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(used) == 4
        for asset in used:
            response = await client.get(f"{path.removesuffix('docs')}{asset}")
            assert response.status_code == 200
            assert response.content
    start = await client.get("/docs/start.js")
    assert "validatorUrl: null" in start.text  # else Swagger UI sends the document's address to a public service
