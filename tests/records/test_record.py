"""A record proves what it says: any change of it is told, and its digest is that of RFC 8785."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest

from app.records import RecordError, check, seal

CONTENT: dict[str, Any] = {
    "format_version": 1,
    "request_id": "mine",
    "route": "/compare",
    "pointer": "",
    "time": "2026-11-27T02:00:00.000Z",
    "service": "0.1.0",
    "model": "tiny",
    "version": "1.0.0",
    "fingerprint": "f" * 64,
    "calibration": "tiny-1",
    "provider": "CPUExecutionProvider",
    "inputs": [{"form": "base64", "sha256": letter * 64, "options": {}} for letter in "ab"],
    "aggregation": "single",
    "asked": {
        "operating_point": None,
        "max_fmr": 0.01,
        "max_fnmr": None,
        "threshold": None,
        "impostor": None,
        "references": 1,
    },
    "operating_point": {
        "name": None,
        "source": "max_fmr",
        "impostor": "random",
        "threshold": 0.5,
        "threshold_low": None,
    },
    "guard_band": 1e-5,
    "score": 1.0,
    "verdict": "match",
    "reasons": [{"code": "identical_items", "side": None}],
}


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the leaves of a JSON value are."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, part in inside for path in paths(part, (*at, name))] or [at]


def test_what_was_sealed_holds_after_a_way_through_json() -> None:
    sealed = seal(CONTENT, None)
    assert check(json.loads(json.dumps(sealed)), None).model_dump() == sealed


def test_digest_is_that_of_the_canonical_json_of_rfc_8785() -> None:
    """Written out by hand: keys sorted, no spaces, 1.0 as 1, 1e-05 as 0.00001."""
    small = {"b": 1.0, "a": 1e-5, "ü": [None, True]}
    expected = hashlib.sha256('{"a":0.00001,"b":1,"ü":[null,true]}'.encode()).hexdigest()
    assert seal(small, None)["sha256"] == expected


@pytest.mark.parametrize("path", paths(CONTENT), ids=str)
def test_any_change_is_told(path: tuple[Any, ...]) -> None:
    changed = copy.deepcopy(seal(CONTENT, None))
    holder = changed
    for name in path[:-1]:
        holder = holder[name]
    before = holder[path[-1]]
    holder[path[-1]] = before + 1 if isinstance(before, int | float) else f"{before}x" if before else "x"
    with pytest.raises(RecordError):
        check(changed, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format_version": 2}, "update twinserve"),
        ({"score": float("nan")}, "score"),
        ({"more": 1}, "more: Extra inputs"),
        ({"inputs": CONTENT["inputs"][:1]}, "inputs"),
        ({"verdict": "maybe"}, "verdict"),
        ({"sha256": "0" * 64}, "it was changed"),
    ],
)
def test_what_is_no_record_is_told_in_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        check({**seal(CONTENT, None), **changes}, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "x", 1, {}])
def test_other_json_is_no_record(value: Any) -> None:
    with pytest.raises(RecordError):
        check(value, None)
