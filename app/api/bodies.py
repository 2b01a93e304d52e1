"""From a request's body to raw items and a checked envelope: JSON, multipart/form-data, a raw body. No items are read.

Bodies arrive whole and bounded: the door counts their bytes. Nothing is written to disk, so that a read-only file
system serves.
"""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

import jiter
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.api.multipart import Part, split_parts
from app.api.schemas import (
    MAX_REFERENCES,
    CompareBatchRequest,
    CompareRequest,
    Embedding,
    EmbedRequest,
    Envelope,
    Judging,
    MatchRequest,
    explain,
)
from app.core.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from app.service import Blob, RawItem

JSON = "application/json"
MULTIPART = "multipart/form-data"

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
"""A number in a query parameter: as JSON writes it."""

LARGE_BYTES = 1024 * 1024
MOST_ARRAYS = 5_000_000
"""Arrays and objects in one JSON document: as many as a series of the most numbers has steps, and some. Three times as
many can stand in the largest body, and take a gigabyte."""

E = TypeVar("E", bound=Envelope)


async def read_compare(request: Request, max_items: int) -> tuple[Judging, RawItem, RawItem]:
    """The body of POST /compare: JSON, or multipart parts `a` and `b` with the rest as query parameters."""
    media_type, options = _content_type(request, (JSON, MULTIPART))
    if media_type == JSON:
        body = _validate(CompareRequest, await _read_json(request))
        return body, body.a, body.b
    judging = _from_query(Judging, request)
    parts = split_parts(await _read_body(request), options.get(b"boundary"), ("a", "b"), max_items)
    for name in ("a", "b"):
        found = sum(part.name == name for part in parts)
        if found != 1:
            raise InvalidRequest(f"send the part {name!r} once; it is there {found} times", pointer=f"/{name}")
    by_name = {part.name: _raw_item(part, f"/{part.name}") for part in parts}
    return judging, by_name["a"], by_name["b"]


async def read_pairs(request: Request, max_items: int) -> CompareBatchRequest:
    """The body of POST /compare/batch: JSON only. Each pair counts as two items."""
    _content_type(request, (JSON,))
    value = await _read_json(request)
    _check_count(value, "pairs", 2, max_items)
    return _validate(CompareBatchRequest, value)


async def read_match(request: Request, max_items: int) -> MatchRequest:
    """The body of POST /match: JSON only. Raises InvalidRequest for two references of one id."""
    _content_type(request, (JSON,))
    value = await _read_json(request)
    _check_references(value, max_items)
    body = _validate(MatchRequest, value)
    seen: set[str] = set()
    for index, reference in enumerate(body.references):
        if reference.id in seen:
            raise InvalidRequest("another reference has this id already", pointer=f"/references/{index}/id")
        seen.add(reference.id)
    return body


async def read_inputs(request: Request, max_items: int) -> tuple[Embedding, Sequence[RawItem]]:
    """The body of POST /embed: JSON, multipart parts `input`, or the bytes of one item under their own media type."""
    media_type, options = _content_type(request, None)
    if media_type == JSON:
        value = await _read_json(request)
        _check_count(value, "inputs", 1, max_items)
        body = _validate(EmbedRequest, value)
        return body, body.inputs
    embedding = _from_query(Embedding, request)
    data = await _read_body(request)
    if media_type != MULTIPART:
        return embedding, [Blob(data, request.headers["content-type"])]
    parts = split_parts(data, options.get(b"boundary"), ("input",), max_items)
    if not parts:
        raise InvalidRequest("send at least one part named 'input'")
    return embedding, [_raw_item(part, f"/inputs/{index}") for index, part in enumerate(parts)]


def no_query(request: Request) -> None:
    """Refuse query parameters where none is known: a misspelt or misplaced one must not be ignored."""
    for name in request.query_params if request.scope.get("query_string") else ():
        known = f"the query parameter {name!r}" if len(name) <= 64 else "a query parameter with a very long name"
        raise InvalidRequest(f"{known} is not known here; with JSON, every field goes into the body")


def parse_json(data: bytes) -> Any:
    """Parse strictly: UTF-8, no NaN or Infinity, no key twice, at most 200 levels.

    Raises InvalidRequest, and TooLarge for more than MOST_ARRAYS.
    """
    if len(data) > LARGE_BYTES and data.count(b"[") + data.count(b"{") > MOST_ARRAYS:
        raise TooLarge(f"the body has more than {MOST_ARRAYS} arrays and objects; send less at once")
    paused = gc.isenabled()
    if paused:  # the collector would walk fresh lists over and over: millions longer than it takes to parse them
        gc.disable()
    try:
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        said = re.sub(r'^Detected duplicate key ".*" at', "a key is there twice at", str(error), flags=re.DOTALL)
        raise InvalidRequest(
            f"the body is not valid JSON in UTF-8 without NaN, Infinity or equal keys: {said}"
        ) from None
    finally:
        if paused:
            gc.enable()


async def _read_json(request: Request) -> Any:
    no_query(request)
    return parse_json(await _read_body(request))


async def _read_body(request: Request) -> bytes:
    """All of the body. Raises ClientDisconnect, and what the door's bounds raise."""
    parts = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _content_type(request: Request, taken: Sequence[str] | None) -> tuple[str, Mapping[bytes, bytes]]:
    """The declared media type and its parameters. Raises UnsupportedMediaType for none, or one not in `taken`."""
    headers = request.scope["headers"]
    encodings = [value for name, value in headers if name == b"content-encoding"]
    if any(encoding.lower() != b"identity" for encoding in encodings):
        raise UnsupportedMediaType("compressed bodies are not taken; send the body without Content-Encoding")
    declared = [value for name, value in headers if name == b"content-type"]
    if declared == [JSON.encode()] and (taken is None or JSON in taken):
        return JSON, {}  # as nearly everybody writes it
    if len(declared) > 1:
        raise InvalidRequest("the request has more than one Content-Type; send one")
    media_type, options = parse_options_header(declared[0] if declared else None)
    offer = " or ".join(taken) if taken else f"{JSON}, {MULTIPART}, or the item's own media type"
    name = media_type.decode("latin-1")
    if not name:
        raise UnsupportedMediaType(f"the request has no Content-Type; send {offer}")
    if taken is not None and name not in taken:
        raise UnsupportedMediaType(f"this route takes {offer}")
    return name, options


def _check_count(value: Any, member: str, each: int, max_items: int) -> None:
    """Refuse too many items before looking at any of them."""
    items = value.get(member) if isinstance(value, dict) else None
    if isinstance(items, list):
        _bound(each * len(items), max_items, "items", member)


def _check_references(value: Any, max_items: int) -> None:
    """The same of a file: its references, and the items of all of them with the probe."""
    references = value.get("references") if isinstance(value, dict) else None
    if not isinstance(references, list):
        return
    _bound(len(references), MAX_REFERENCES, "references", "references")
    lists = [one.get("items") for one in references if isinstance(one, dict)]
    _bound(1 + sum(len(items) for items in lists if isinstance(items, list)), max_items, "items", "references")


def _bound(count: int, most: int, of_what: str, member: str) -> None:
    if count > most:
        raise TooLarge(f"the request has {count} {of_what}; at most {most} are taken: split it", pointer=f"/{member}")


def _validate(schema: type[E], value: Any) -> E:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise explain(error) from None


def _from_query(schema: type[E], request: Request) -> E:
    """The envelope from query parameters. Raises InvalidRequest for one that is unknown, repeated or no number."""
    fields: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in fields:
            raise InvalidRequest(f"the query parameter {name!r} is there more than once; send it once")
        field = schema.model_fields.get(name)
        if field is not None and float in get_args(field.annotation):
            if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
                raise InvalidRequest(f"the query parameter {name!r} must be a finite number")
            fields[name] = float(text)
        elif field is not None and any(get_origin(one) is list for one in get_args(field.annotation)):
            fields[name] = [text]
        else:
            fields[name] = text
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        fault = explain(error)
        fault.pointer = None  # a query parameter is no part of the body
        raise fault from None


def _raw_item(part: Part, pointer: str) -> RawItem:
    """A part of type application/json is an item; any other is its bytes under the type that it declares."""
    media_type, _ = parse_options_header(part.media_type)
    if media_type != JSON.encode():
        return Blob(part.data, part.media_type)
    try:
        value = parse_json(part.data)
    except InvalidRequest as error:
        raise error.at(pointer) from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"a part of type {JSON} must be an item, a JSON object", pointer=pointer)
    return value
