"""What callers of a release rely on, told from its OpenAPI document, and what a later document takes from them.

`python -m tests.api.compatibility` writes the outline of the last release anew; that belongs to a release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app import __version__
from app.api.openapi import describe_api

RELEASED = Path(__file__).with_name("released.json")
PREFIX = "#/components/schemas/"


def outline(document: Mapping[str, Any]) -> dict[str, Any]:
    """Routes with their parameters and statuses; members of what is sent and of what is answered, with their kinds."""
    routes, sent, answered = {}, set[str](), set[str]()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = sorted(one["name"] for one in operation.get("parameters", ()))
            routes[f"{method.upper()} {path}"] = {"parameters": parameters, "statuses": sorted(operation["responses"])}
            sent |= _names(operation.get("requestBody", {}))
            answered |= _names(operation["responses"].get("200", {}))
    schemas = document["components"]["schemas"]
    return {
        "version": document["info"]["version"],
        "routes": routes,
        "sent": {name: _members(schemas[name]) for name in sorted(_reachable(sent, schemas))},
        "answered": {name: _members(schemas[name]) for name in sorted(_reachable(answered, schemas))},
    }


def broken(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Each promise of the old outline that the new one does not keep, in words."""
    for route, was in old["routes"].items():
        now = new["routes"].get(route)
        if now is None:
            yield f"{route} is gone"
            continue
        for what in ("parameters", "statuses"):
            yield from (f"{route}: {what} {one} is gone" for one in sorted(set(was[what]) - set(now[what])))
    for name, was in old["sent"].items():
        now = new["sent"].get(name, {"kinds": {}, "required": []})
        yield from (f"{name}: {one} must be sent now" for one in sorted(set(now["required"]) - set(was["required"])))
        for member, kinds in was["kinds"].items():
            if lost := sorted(set(kinds) - set(now["kinds"].get(member, ()))):
                yield f"{name}: {member} may no longer be {', '.join(lost)}"
    for name, was in old["answered"].items():
        now = new["answered"].get(name, {"kinds": {}, "required": []})
        gone = set(was["required"]) - set(now["required"])
        yield from (f"{name}: {one} is not always there any more" for one in sorted(gone))
        for member, kinds in now["kinds"].items():
            if member in was["kinds"] and (more := sorted(set(kinds) - set(was["kinds"][member]))):
                yield f"{name}: {member} may be {', '.join(more)} now"


def _members(schema: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {name: sorted(set(_kinds(member))) for name, member in schema.get("properties", {}).items()}
    return {"kinds": kinds or {"": sorted(set(_kinds(schema)))}, "required": sorted(schema.get("required", ()))}


def _kinds(schema: Mapping[str, Any]) -> Iterator[str]:
    """What a value may be: types, names of schemas, the values of an enumeration, and those of what it holds."""
    for alternatives in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(alternatives, ()):
            yield from _kinds(one)
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(PREFIX)
    yield from (json.dumps(value) for value in schema.get("enum", ()))
    if "const" in schema:
        yield json.dumps(schema["const"])
    elif "type" in schema and "enum" not in schema:
        yield schema["type"]
    for inside in ("items", "additionalProperties"):
        if isinstance(schema.get(inside), Mapping):
            yield from (f"{schema.get('type')} of {kind}" for kind in _kinds(schema[inside]))


def _names(part: Any) -> set[str]:
    """Every schema that a part of the document names."""
    if isinstance(part, Mapping):
        own = {part["$ref"].removeprefix(PREFIX)} if str(part.get("$ref", "")).startswith(PREFIX) else set()
        return own.union(*map(_names, part.values()))
    return set[str]().union(*map(_names, part)) if isinstance(part, list) else set()


def _reachable(names: set[str], schemas: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    while names - found:
        found |= names
        names = set[str]().union(*(_names(schemas[name]) for name in found))
    return found


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(outline(json.loads(json.dumps(describe_api()))), indent=1, sort_keys=True) + "\n")
    print(f"wrote {RELEASED.name} of {__version__}")
