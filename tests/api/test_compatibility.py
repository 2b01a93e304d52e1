"""Who wrote a client for the last release goes on: nothing under /v1 is taken away or asked for anew."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.api.openapi import describe_api
from tests.api.compatibility import RELEASED, broken, outline

NOW: dict[str, Any] = json.loads(json.dumps(describe_api()))
COMPARE = "CompareRequest"


def test_nothing_that_the_last_release_promised_is_broken() -> None:
    assert list(broken(json.loads(RELEASED.read_text(encoding="utf-8")), outline(NOW))) == []


def drop_route(document: dict[str, Any]) -> None:
    del document["paths"]["/match"]


def drop_status(document: dict[str, Any]) -> None:
    del document["paths"]["/compare"]["post"]["responses"]["429"]


def drop_parameter(document: dict[str, Any]) -> None:
    document["paths"]["/compare"]["post"]["parameters"].pop()


def ask_for_more(document: dict[str, Any]) -> None:
    document["components"]["schemas"][COMPARE]["required"].append("model")


def drop_member(document: dict[str, Any]) -> None:
    del document["components"]["schemas"][COMPARE]["properties"]["prior"]


def narrow_member(document: dict[str, Any]) -> None:
    document["components"]["schemas"][COMPARE]["properties"]["model"] = {"type": "string"}


def answer_less(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Comparison"]["required"].remove("verdict")


def answer_otherwise(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Comparison"]["properties"]["verdict"]["enum"].append("perhaps")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_route, "POST /match is gone"),
        (drop_status, "POST /compare: statuses 429 is gone"),
        (drop_parameter, "POST /compare: parameters"),
        (ask_for_more, f"{COMPARE}: model must be sent now"),
        (drop_member, f"{COMPARE}: prior may no longer be"),
        (narrow_member, f"{COMPARE}: model may no longer be null"),
        (answer_less, "Comparison: verdict is not always there any more"),
        (answer_otherwise, 'Comparison: verdict may be "perhaps" now'),
    ],
)
def test_what_breaks_a_client_is_found(change: Callable[[dict[str, Any]], None], said: str) -> None:
    changed = copy.deepcopy(NOW)
    change(changed)
    assert any(said in one for one in broken(outline(NOW), outline(changed)))


def test_what_is_added_breaks_nobody() -> None:
    changed = copy.deepcopy(NOW)
    changed["paths"]["/more"] = changed["paths"]["/models"]
    changed["components"]["schemas"][COMPARE]["properties"]["more"] = {"type": "string"}
    changed["components"]["schemas"]["Comparison"]["properties"]["more"] = {"type": "string"}
    assert list(broken(outline(NOW), outline(changed))) == []
