"""What is asked in a soak, made of the golden items of every bundle, and whether an answer is the one given alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from app.core.bundle import Bundle, find_bundles, read_bundle, to_http
from benchmarks.checks import guard_band
from benchmarks.wire import Answer, post

ITEMS = 5
"""Of each bundle; its golden items are few, made for the project, and of its own kind of input."""
BULK_PAIRS = 12
BROKEN = {"base64": {"base64": "bm8gcGljdHVyZQ=="}, "text": {"text": ""}, "values": {"values": [[]]}}
"""Items that no model takes, by form: bytes that are no file, no text, no steps."""
NOT_JSON = b'{"a": '


@dataclass(frozen=True, slots=True)
class Ask:
    """One request on the wire, what it is of, and how far numbers of its answers may be apart."""

    about: str
    request: bytes
    tolerance: float


def requests(models: Path) -> list[Ask]:
    """Every kind of request, good and bad, for every bundle below `models`."""
    asks = [Ask("not JSON", post("/compare", NOT_JSON), 0.0)]
    asks.append(Ask("unknown model", _post("/embed", {"model": "nobody", "inputs": [{"text": "x"}]}), 0.0))
    for folder in find_bundles(models):
        bundle = read_bundle(folder)
        asks += (Ask(f"{bundle.key} {about}", request, guard_band(bundle)) for about, request in _of(bundle))
    return asks


def _of(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    items = [to_http(item) for item in bundle.golden.items[:ITEMS]]
    model = {"model": bundle.key}
    pairs = [{"a": a, "b": b} for a, b in itertools.combinations_with_replacement(items, 2)]
    for pair in pairs[:4]:
        yield "compare", _post("/compare", {**model, **pair, "prior": 0.1})
    yield "embed", _post("/embed", {**model, "inputs": items})
    yield (
        "bulk",
        _post("/compare/batch", {**model, "pairs": list(itertools.islice(itertools.cycle(pairs), BULK_PAIRS))}),
    )
    references = [{"id": str(place), "items": [item]} for place, item in enumerate(items[1:])]
    yield "match", _post("/match", {**model, "probe": items[0], "references": references})
    form = next(form for form in BROKEN if form in items[0])
    yield "broken", _post("/compare", {**model, "a": items[0], "b": BROKEN[form]})
    yield "beyond the evidence", _post("/compare", {**model, **pairs[0], "max_fmr": 1e-9})


def is_alike(given: Answer, alone: Answer, tolerance: float) -> bool:
    """Whether an answer says what the same request was answered when nothing else was asked."""
    if given.status != alone.status:
        return False
    if given.body == alone.body:
        return True
    words, numbers = _gist(orjson.loads(given.body))
    wanted, expected = _gist(orjson.loads(alone.body))
    if words != wanted or len(numbers) != len(expected):
        return False
    return not numbers or bool(np.abs(np.subtract(numbers, expected)).max() <= tolerance)


def _gist(body: Mapping[str, Any]) -> tuple[list[Any], list[float]]:
    """What must be the same, and what may differ by rounding: verdicts and codes, scores and components."""
    if "code" in body:
        return [body["code"], body.get("pointer")], []
    if "embeddings" in body:
        return [len(body["embeddings"])], [number for row in body["embeddings"] for number in row]
    compared = body.get("results") or body.get("references") or [body]
    words = [body.get("best"), *((one.get("id"), one.get("verdict"), "error" in one) for one in compared)]
    return words, [one["score"] for one in compared if "score" in one]


def _post(path: str, body: Mapping[str, Any]) -> bytes:
    return post(path, orjson.dumps(body))
