"""Whatever the OpenAPI document allows or forbids, the service answers as the document says, on a real port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from app.access import Access
from app.api.openapi import describe_api
from tests.api.test_keys import a_key
from tests.serving import load, make_app, serve
from tests.tiny import make_tiny

EXAMPLES = 15
SECRET = "everything"
UNPROMISED = {
    "positive_data_acceptance",  # a schema cannot say what is a picture, or which embedding is whose
    "use_after_free",
    "ensure_resource_availability",  # nothing is created or deleted
    "ignored_auth",  # in the document a key is the operator's choice; test_keys.py holds what it opens
}

load_all_checks()
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}})
"""Too many items are 413, which may come before any other fault of the body is looked for."""
SCHEMA = schemathesis.openapi.from_dict(describe_api(), config=CONFIG)
OPERATIONS = {one.ok().label: one.ok() for one in SCHEMA.get_all_operations() if isinstance(one, Ok)}
PROMISED = [check for check in CHECKS.get_all() if check.__name__ not in UNPROMISED]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    key = a_key(SECRET, "compare", "embed", "admin")
    app = make_app(load(make_tiny()), access=Access([key], lambda: 1))
    with serve(app) as port:
        yield f"http://127.0.0.1:{port}"


def test_every_operation_of_the_document_is_tried() -> None:
    assert len(OPERATIONS) == sum(len(path) for path in describe_api()["paths"].values()) == 9
    assert len(PROMISED) > 5


@pytest.mark.parametrize("label", OPERATIONS)
def test_service_takes_what_its_document_allows_and_answers_as_it_says(url: str, label: str) -> None:
    ask(url, OPERATIONS[label], GenerationMode.POSITIVE)


@pytest.mark.parametrize("label", [label for label in OPERATIONS if label.startswith("POST")])
def test_service_refuses_what_its_document_forbids_as_it_says(url: str, label: str) -> None:
    """The others have nothing that could be wrong: any string is a name."""
    ask(url, OPERATIONS[label], GenerationMode.NEGATIVE)


def ask(url: str, operation: Any, mode: GenerationMode) -> None:
    """Send EXAMPLES requests, the same ones each time, and check every answer."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call_and_validate(
            base_url=url, headers={"Authorization": f"Bearer {SECRET}"}, checks=PROMISED, timeout=60
        )
        assert response.headers["x-request-id"]
        assert response.status_code != 401  # the key was sent, and nothing but the request itself is judged

    one()
