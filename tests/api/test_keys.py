"""The edge with keys: who is let in, to what, how often, and what a key that sees verdicts only never learns."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from app.access import Access, Key, parse_keys
from app.access.keys import digest
from app.api.gate import KEYLESS
from app.api.openapi import describe_api
from app.api.schemas import CompareBatchRequest, CompareRequest
from app.core.observe import NullObserver
from app.runtime.registry import Registry
from app.service import Recorder as DecisionRecorder
from app.service import Service
from tests.serving import EXECUTOR, Recorder, client_of, make_app, picture, problem, today
from tests.tiny import tiny_png

pytestmark = pytest.mark.anyio

PAIR = {"a": picture(0, 0), "b": picture(0, 1)}
BODIES: dict[str, dict[str, Any]] = {
    "/compare": PAIR,
    "/compare/batch": {"pairs": [PAIR]},
    "/match": {"probe": picture(0), "references": [{"id": "r", "items": [picture(0, 1)]}]},
    "/embed": {"inputs": [picture(0)]},
}
GETS = ("/models", "/models/tiny", "/metrics")
SELECTORS: dict[str, object] = {
    "threshold": 0.5,
    "max_fmr": 0.01,
    "max_fnmr": 0.1,
    "operating_point": "eer",
    "prior": 0.5,
    "impostor": "random",
}
SCORES = ("score", "distance", "log_likelihood_ratio", "fmr_at_score", "posterior")


def a_key(name: str, *scopes: str, **fields: object) -> Key:
    """The key whose secret is its name."""
    given = {"id": name, "sha256": digest(name).hex(), "scopes": list(scopes or ("compare",)), **fields}
    [made] = parse_keys("[[key]]\n" + "\n".join(f"{field} = {json.dumps(value)}" for field, value in given.items()))
    return made


KEYS = [
    a_key("everything", "compare", "embed", "admin"),
    a_key("comparer"),
    a_key("embedder", "embed"),
    a_key("admin", "admin"),
    a_key("teller", disclosure="verdict"),
    a_key("plain-only", "compare", "embed", models=["plain"]),
    a_key("far-and-trial", "compare", models=["far@1.0.0", "trial"]),
    a_key("slow", "compare", "embed", rate_per_s=0.001, burst=3),
]


@pytest.fixture
async def client(registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(registry, access=Access(KEYS, lambda: 1))) as client:
        yield client


def sent(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def ask(client: httpx.AsyncClient, path: str, secret: str | None, **body: Any) -> httpx.Response:
    """The route's own example unless a body is given; a GET where it takes none."""
    headers = {} if secret is None else sent(secret)
    if path in BODIES:
        return await client.post(path, json=body or BODIES[path], headers=headers)
    return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", [*BODIES, *GETS, "/v1/compare", "/v1/models", "/nope", "/v1/metrics", "/docsx"])
async def test_without_a_valid_key_nothing_is_answered(client: httpx.AsyncClient, path: str) -> None:
    wrong = [{}, sent("nobody"), sent(""), {"X-API-Key": ""}, {"Authorization": "everything"}]
    wrong += [{"Authorization": "Basic everything"}, {"X-API-Key": "nobody", **sent("everything")}]
    for headers in wrong:
        response = await client.request("POST" if path.endswith("compare") else "GET", path, headers=headers)
        body = problem(response, 401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert body["retryable"] is False


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs", "/openapi.json", "/v1/health/live"])
async def test_probes_and_documentation_need_no_key(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "headers", [sent("everything"), {"Authorization": "bearer  everything"}, {"X-API-Key": "everything"}]
)
async def test_key_is_sent_in_either_header(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    for path, body in BODIES.items():
        assert (await client.post(path, json=body, headers=headers)).status_code == 200
        assert (await client.post("/v1" + path, json=body, headers=headers)).status_code == 200
    for path in GETS:
        assert (await client.get(path, headers=headers)).status_code == 200
    problem(await client.get("/nope", headers=headers), 404, "not_found")


ALLOWED = {
    "comparer": {"/compare", "/compare/batch", "/match", "/models", "/models/tiny"},
    "embedder": {"/embed", "/models", "/models/tiny"},
    "admin": {"/metrics", "/models", "/models/tiny"},
    "teller": {"/compare", "/compare/batch", "/models", "/models/tiny"},
}


@pytest.mark.parametrize("secret", ALLOWED)
async def test_key_opens_the_routes_of_its_scopes_and_no_other(client: httpx.AsyncClient, secret: str) -> None:
    for path in (*BODIES, *GETS):
        response = await ask(client, path, secret)
        if path in ALLOWED[secret]:
            assert response.status_code == 200, path
        else:
            problem(response, 403, "forbidden")


async def test_refused_request_has_its_body_unread(registry: Registry) -> None:
    async def never_read() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with client_of(make_app(registry, access=Access(KEYS, lambda: 1))) as client:
        for secret, status in ((None, 401), ("embedder", 403)):
            response = await client.post("/compare", content=never_read(), headers=sent(secret) if secret else {})
            assert response.status_code == status


async def test_model_that_a_key_may_not_use_is_forbidden_whether_it_is_there_or_not(client: httpx.AsyncClient) -> None:
    answers = []
    for model in ("tiny", "tiny@1.0.0", "no-such-model"):
        for path in ("/compare", "/compare/batch", "/match", "/embed"):
            response = await ask(client, path, "plain-only", model=model, **BODIES[path])
            answers.append(problem(response, 403, "forbidden", "/model")["detail"])
        response = await client.get(f"/models/{model}", headers=sent("plain-only"))
        answers.append(problem(response, 403, "forbidden", "/model")["detail"])
    assert len(set(answers)) == 1
    assert "tiny" not in answers[0]
    for model in ("plain", "plain@1.0.0"):
        for path in ("/compare", "/compare/batch", "/match", "/embed"):
            assert (await ask(client, path, "plain-only", model=model, **BODIES[path])).status_code == 200
        assert (await client.get(f"/models/{model}", headers=sent("plain-only"))).status_code == 200


async def test_default_model_is_held_against_the_key_too(client: httpx.AsyncClient) -> None:
    problem(await ask(client, "/compare", "plain-only"), 403, "forbidden", "/model")
    assert (await ask(client, "/compare", "comparer")).status_code == 200


async def test_alias_is_held_against_the_key_by_the_model_that_it_means(registry: Registry) -> None:
    aliased = Registry(list(registry), default="tiny", aliases={"flat": "plain", "small": "tiny"})
    async with client_of(make_app(aliased, access=Access(KEYS, lambda: 1))) as client:
        assert (await ask(client, "/compare", "plain-only", model="flat", **PAIR)).json()["model"] == "plain"
        problem(await ask(client, "/compare", "plain-only", model="small", **PAIR), 403, "forbidden", "/model")


async def test_request_that_must_name_a_model_is_told_only_those_of_its_key(registry: Registry) -> None:
    without_default = Registry(list(registry), default=None, aliases={})
    async with client_of(make_app(without_default, access=Access(KEYS, lambda: 1))) as client:
        response = await ask(client, "/compare", "far-and-trial")
        assert problem(response, 422, "invalid_request", "/model")["detail"] == "set `model` to one of far@1.0.0, trial"


async def test_models_lists_those_of_the_key(client: httpx.AsyncClient) -> None:
    async def names(secret: str) -> list[str]:
        return [entry["name"] for entry in (await ask(client, "/models", secret)).json()["models"]]

    assert await names("far-and-trial") == ["trial", "far"]
    assert await names("plain-only") == ["plain"]
    assert await names("comparer") == ["tiny", "plain", "trial", "far"]


async def test_verdict_key_learns_the_verdict_its_reasons_and_where_it_was_taken(client: httpx.AsyncClient) -> None:
    full = (await ask(client, "/compare", "comparer")).json()
    told = (await ask(client, "/compare", "teller")).json()
    assert all(full[name] is not None for name in ("score", "distance", "log_likelihood_ratio", "fmr_at_score"))
    assert told == full | dict.fromkeys(SCORES)
    assert told["operating_point"]["source"] == "default"
    [batched] = (await ask(client, "/compare/batch", "teller")).json()["results"]
    assert batched == told


async def test_verdict_key_cannot_tell_a_near_miss_from_a_far_one(client: httpx.AsyncClient) -> None:
    pairs = [{"a": picture(0), "b": picture(other)} for other in range(1, 5)]
    full = (await ask(client, "/compare/batch", "comparer", pairs=pairs)).json()["results"]
    assert {one["verdict"] for one in full} == {"no_match"}
    assert len({one["score"] for one in full}) == 4
    told = [(await ask(client, "/compare", "teller", **pair)).text for pair in pairs]
    assert len(set(told)) == 1


@pytest.mark.parametrize("name", SELECTORS)
async def test_verdict_key_chooses_no_threshold(client: httpx.AsyncClient, name: str) -> None:
    extra = {name: SELECTORS[name]} | ({"max_fmr": 0.01} if name == "max_fnmr" else {})
    for body in (extra, {name: None}):
        response = await ask(client, "/compare", "teller", **PAIR, **body)
        assert name in problem(response, 403, "forbidden", f"/{min(body)}")["detail"] or name == "max_fnmr"
        response = await ask(client, "/compare/batch", "teller", pairs=[PAIR], **body)
        problem(response, 403, "forbidden", f"/{min(body)}")
    files = {side: ("x.png", tiny_png(0, 0), "image/png") for side in "ab"}
    query = {key: str(value) for key, value in extra.items()}
    problem(
        await client.post("/compare", params=query, files=files, headers=sent("teller")),
        403,
        "forbidden",
        f"/{min(extra)}",
    )
    assert (await client.post("/compare", files=files, headers=sent("teller"))).status_code == 200


def test_every_member_of_a_request_but_the_model_and_the_items_is_refused_to_a_verdict_key() -> None:
    """A member that is added later is refused until someone decides otherwise."""
    members = set(CompareRequest.model_fields) | set(CompareBatchRequest.model_fields)
    assert members - {"model", "a", "b", "pairs"} >= set(SELECTORS)


async def test_verdict_key_brings_no_embeddings_and_gets_none(client: httpx.AsyncClient) -> None:
    embedded = (await ask(client, "/embed", "everything")).json()
    item = {"embedding": embedded["embeddings"][0], "fingerprint": embedded["fingerprint"]}
    assert (await ask(client, "/compare", "comparer", a=item, b=picture(0))).status_code == 200
    for side in "ab":
        pair = {**PAIR, side: item}
        problem(await ask(client, "/compare", "teller", **pair), 403, "forbidden", f"/{side}")
        response = await ask(client, "/compare/batch", "teller", pairs=[PAIR, pair])
        problem(response, 403, "forbidden", f"/pairs/1/{side}")
        parts = {
            name: (
                "x",
                json.dumps(item) if name == side else tiny_png(0, 0),
                "application/json" if name == side else "",
            )
            for name in "ab"
        }
        response = await client.post("/compare", files=parts, headers=sent("teller"))
        problem(response, 403, "forbidden", f"/{side}")
    problem(await ask(client, "/embed", "teller"), 403, "forbidden")
    problem(await ask(client, "/match", "teller"), 403, "forbidden")


async def test_rate_counts_comparisons_and_embeddings_not_requests(registry: Registry) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/compare/batch": {"pairs": [PAIR] * 3},
        "/embed": {"inputs": [picture(0)] * 3},
        "/match": {"probe": picture(0), "references": [{"id": "r", "items": [picture(0, 1)] * 3}]},
    }
    for path, body in bodies.items():
        async with client_of(make_app(registry, access=Access(KEYS, lambda: 1))) as client:
            assert (await ask(client, path, "slow", **body)).status_code in (200, 422)
            response = await ask(client, path, "slow", **body)
            assert problem(response, 429, "rate_limited")["retryable"] is True
            assert int(response.headers["retry-after"]) > 900
            assert (await ask(client, path, "everything", **body)).status_code in (200, 422)


async def test_log_names_the_key_by_its_id_and_never_the_secret(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"shop": "tws_" + "s" * 43, "over": "tws_" + "o" * 43}
    keys = [a_key("shop").model_copy(update={"sha256": digest(secrets["shop"]).hex()})]
    keys += [a_key("over", rate_per_s=0.001, burst=1).model_copy(update={"sha256": digest(secrets["over"]).hex()})]
    caplog.set_level(logging.DEBUG)
    async with client_of(make_app(registry, access=Access(keys, lambda: 1))) as client:
        for secret in (secrets["shop"], secrets["over"], secrets["over"], "tws_" + "w" * 43, None):
            await ask(client, "/compare", secret)
        await client.get("/health/live", headers=sent(secrets["shop"]))
    lines = [vars(record) for record in caplog.records if record.name == "app.api.door"]
    assert [(line["status"], line.get("key")) for line in lines] == [
        (200, "shop"),
        (200, "over"),
        (429, "over"),
        (401, None),
        (401, None),
        (200, None),
    ]
    said = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("app"))
    assert not re.search("s{43}|o{43}|w{43}", said)


async def test_metrics_count_what_is_refused_to_keys(registry: Registry) -> None:
    recorder = Recorder()
    async with client_of(make_app(registry, access=Access(KEYS, lambda: 1), observer=recorder)) as client:
        await ask(client, "/compare", None)
        await ask(client, "/embed", "comparer")
    assert recorder.codes == ["unauthorized", "forbidden"]


async def test_without_keys_all_is_open_and_a_key_is_not_looked_at(registry: Registry) -> None:
    async with client_of(make_app(registry)) as client:
        for secret in (None, "nobody"):
            for path in (*BODIES, *GETS):
                assert (await ask(client, path, secret)).status_code == 200


def test_every_route_says_what_it_needs_and_the_document_agrees(registry: Registry) -> None:
    from app.api.routes import Endpoints, make_routes  # noqa: PLC0415

    service = Service(lambda: registry, Recorder(), EXECUTOR, today)
    decisions = DecisionRecorder(NullObserver(), lambda: datetime.now(UTC))
    endpoints = Endpoints(service, lambda: pytest.fail("not called"), Recorder(), 8, decisions)
    routes = make_routes(endpoints, lambda: (b"", ""), keys=True)
    paths = describe_api()["paths"]
    for route in routes:
        assert isinstance(route, Route)
        documented = paths.get(route.path.removeprefix("/v1"))
        if documented is not None:
            [operation] = documented.values()
            assert ("security" in operation) == (KEYLESS.fullmatch(route.path) is None), route.path
            assert ("401" in operation["responses"]) == ("security" in operation)
            assert ("403" in operation["responses"]) == ("security" in operation)
        else:
            assert KEYLESS.fullmatch(route.path), route.path


def test_document_declares_both_ways_to_send_a_key() -> None:
    document = describe_api()
    schemes = document["components"]["securitySchemes"]
    assert {(one["type"], one.get("scheme"), one.get("name")) for one in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    named = {name for option in document["paths"]["/compare"]["post"]["security"] for name in option}
    assert named == set(schemes)


async def test_no_answer_lets_another_origin_read_it(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/compare"), ("POST", "/compare"), ("GET", "/health/live"), ("GET", "/docs")):
        response = await client.request(method, path, headers=asked | sent("everything"))
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_every_answer_is_what_its_type_says_and_stays_out_of_caches(client: httpx.AsyncClient) -> None:
    paths = [("GET", path, None) for path in ("/health/live", "/docs", "/docs/start.js", "/openapi.json", "/nope")]
    for method, path, secret in (*paths, ("POST", "/compare", None), ("POST", "/compare", "everything")):
        response = await client.request(method, path, headers=sent(secret) if secret else {})
        assert response.headers.get_list("x-content-type-options") == ["nosniff"], path
        assert response.headers.get_list("cache-control") == ["no-store"], path
