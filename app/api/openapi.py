"""The OpenAPI document, made from the schemas, the answers, the table of errors and the examples. No request is served.

tests/api/test_openapi.py posts every example to the real application and holds the answers to the schemas.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app import __version__
from app.api import answers, schemas
from app.api.errors import KINDS
from app.api.examples import COMPARE, COMPARE_BATCH, EMBED, MATCH
from app.api.responses import PROBLEM
from app.core.modalities.base import FORMS

JSON, MULTIPART, ANY = "application/json", "multipart/form-data", "*/*"
REF = "#/components/schemas/{model}"
BINARY = {"type": "string", "format": "binary"}

KEY_ERRORS = ("unauthorized", "forbidden", "rate_limited")
GET_ERRORS = (*KEY_ERRORS, "not_ready", "deadline_exceeded", "overloaded", "internal")
POST_ERRORS = tuple(family.code for family in KINDS if family.code not in ("not_found", "method_not_allowed"))

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""How a key is sent, where the service asks for keys."""
KEYED: dict[str, Any] = {"security": [{}, *({scheme: []} for scheme in SCHEMES)]}
"""What a route says that asks for a key then; whether a service does is its operator's choice, hence the empty one."""


def describe_api(root_path: str = "") -> dict[str, Any]:
    """The whole document, plain values only, of a service that is published below `root_path`."""
    _, definitions = models_json_schema(
        [*((model, "validation") for model in _requests()), *((model, "serialization") for model in _answers())],
        ref_template=REF,
    )
    components: dict[str, Any] = {**definitions["$defs"], "Item": _item()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Twinserve",
            "version": __version__,
            "description": "Compares items with twin encoders. Every verdict names its measured error rates.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": root_path or "/"},
            {"url": f"{root_path}/v1", "description": "the same routes; a breaking change moves to /v2"},
        ],
        "paths": _paths(),
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": SCHEMES},
    }


def _paths() -> dict[str, Any]:
    judging, embedding = _query(schemas.Judging), _query(schemas.Embedding)
    two_files = {"type": "object", "properties": {"a": BINARY, "b": BINARY}, "required": ["a", "b"]}
    files = {"type": "object", "properties": {"input": {"type": "array", "items": BINARY}}, "required": ["input"]}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/compare": _post(
            "Compare two items",
            answers.Comparison,
            {JSON: _body(schemas.CompareRequest, COMPARE), MULTIPART: {"schema": two_files}},
            judging,
        ),
        "/compare/batch": _post(
            "Compare many pairs", answers.Comparisons, {JSON: _body(schemas.CompareBatchRequest, COMPARE_BATCH)}
        ),
        "/match": _post(
            "Compare one item with each reference of a file",
            answers.Matched,
            {JSON: _body(schemas.MatchRequest, MATCH)},
        ),
        "/embed": _post(
            "Embed items",
            answers.Embeddings,
            {JSON: _body(schemas.EmbedRequest, EMBED), MULTIPART: {"schema": files}, ANY: {"schema": BINARY}},
            embedding,
        ),
        "/models": _get("List the served models", answers.Models, GET_ERRORS),
        "/models/{name}": _get(
            "Describe a model, by name or name@version", answers.Model, (*GET_ERRORS, "unknown_model"), [name]
        ),
        "/health/live": _get("Whether the process answers", answers.Live),
        "/health/ready": _ready(),
        "/metrics": {
            "get": {
                "summary": "Metrics for Prometheus, unless they have a port of their own",
                "responses": {
                    "200": {"description": "Text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **_problems(KEY_ERRORS),
                },
                **KEYED,
            }
        },
    }


def _post(
    summary: str, answer: type[BaseModel], content: dict[str, Any], query: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": _json("Done", answer), **_problems(POST_ERRORS)},
        **KEYED,
    }
    timeout = {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "seconds; can only shorten the service's own limit",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    }
    return {"post": {**operation, "parameters": [*query, timeout]}}


def _get(
    summary: str, answer: type[BaseModel], errors: Sequence[str] = (), parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    responses = {"200": _json("Done", answer), **_problems(errors)}
    keyed = KEYED if "unauthorized" in errors else {}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses, **keyed}}


def _ready() -> dict[str, Any]:
    path = _get("Whether requests can be answered", answers.Ready)
    path["get"]["responses"]["503"] = _json("Not ready", answers.Ready)
    return path


def _body(schema: type[BaseModel], examples: dict[str, Any]) -> dict[str, Any]:
    return {"schema": _ref(schema), "examples": {name: {"value": value} for name, value in examples.items()}}


def _json(description: str, answer: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _ref(answer)}}}


def _problems(codes: Sequence[str]) -> dict[str, Any]:
    """Problem responses by status, each saying which codes it may carry."""
    by_status: dict[int, list[str]] = {}
    for family, row in KINDS.items():
        if family.code in codes:
            by_status.setdefault(row.status, []).append(family.code)
    return {
        str(status): {
            "description": "code: " + " or ".join(found),
            "content": {PROBLEM: {"schema": _ref(answers.Problem)}},
        }
        for status, found in sorted(by_status.items())
    }


def _query(schema: type[BaseModel]) -> list[dict[str, Any]]:
    """The envelope as query parameters, which go with bodies that are not JSON."""
    properties = schema.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "description": "not with a JSON body", "schema": _without_null(shape)}
        for name, shape in properties.items()
    ]


def _without_null(shape: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in shape.get("anyOf", ()) if option != {"type": "null"}]
    kept = {name: value for name, value in shape.items() if name not in ("anyOf", "default", "title")}
    return {**(options[0] if options else {}), **kept}


def _item() -> dict[str, Any]:
    """Exactly one content member; its other members are the modality's."""
    forms = [
        *({"required": [form], "title": form, "description": what} for form, what in FORMS.items()),
        {
            "title": "url",
            "description": "where encoded bytes lie, for base64; only where the service's operator allows it",
            "required": ["url"],
        },
        {
            "title": "embedding",
            "description": "an embedding that this service gave out: numbers, or base64 of little-endian float32",
            "required": ["embedding", "fingerprint"],
        },
    ]
    return {
        "type": "object",
        "oneOf": forms,
        "description": "An item, in exactly one form; see item_form in GET /models",
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _requests() -> list[type[BaseModel]]:
    return [schemas.CompareRequest, schemas.CompareBatchRequest, schemas.MatchRequest, schemas.EmbedRequest]


def _answers() -> list[type[BaseModel]]:
    return [
        answers.Comparison,
        answers.Comparisons,
        answers.Matched,
        answers.Embeddings,
        answers.Model,
        answers.Models,
        answers.Live,
        answers.Ready,
        answers.Problem,
    ]
