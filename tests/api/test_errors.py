"""The table of errors is complete and agrees with the design."""

from __future__ import annotations

import pytest

from app.api.errors import KINDS, below, headers, kind, problem
from app.core import errors
from app.core.errors import BundleRefused, Internal, Overloaded, TwinserveError, UnusableInput

STATUSES = {
    "invalid_request": 422,
    "unusable_input": 422,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unknown_model": 404,
    "fingerprint_mismatch": 409,
    "operating_point_unavailable": 422,
    "unauthorized": 401,
    "overloaded": 429,
    "not_ready": 503,
    "deadline_exceeded": 504,
    "not_found": 404,
    "method_not_allowed": 405,
    "forbidden": 403,
    "rate_limited": 429,
    "client_timeout": 408,
    "internal": 500,
}
AT_START_ONLY = {"BundleRefused", "DeviceUnavailable", "KeysRefused"}
WITHOUT_A_CODE = {"TwinserveError", "Transient"}


def test_statuses_are_those_of_the_design() -> None:
    assert {family.code: row.status for family, row in KINDS.items()} == STATUSES


def test_every_error_that_a_caller_can_meet_has_its_row() -> None:
    families = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, TwinserveError)}
    assert families - AT_START_ONLY - WITHOUT_A_CODE == {family.__name__ for family in KINDS}


def test_error_that_no_caller_should_meet_is_internal_and_tells_nothing() -> None:
    body = problem(BundleRefused("/srv/models/x is broken"), "id")
    assert (body["status"], body["code"]) == (500, "internal")
    assert "srv" not in body["detail"]
    assert problem(Internal("the model failed on this item"), "id")["detail"] == "the model failed on this item"


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.0, "1"), (0.2, "1"), (2.1, "3")])
def test_retry_after_is_in_whole_seconds_and_at_least_one(seconds: float | None, header: str) -> None:
    assert headers(Overloaded("full", retry_after_s=seconds)) == {"Retry-After": header}


def test_only_errors_that_pass_say_when_to_come_back() -> None:
    assert headers(UnusableInput("blank")) == {}
    assert headers(errors.DeadlineExceeded("late")) == {}
    assert problem(errors.DeadlineExceeded("late"), "id")["retryable"] is True


def test_error_shared_by_pairs_keeps_its_own_pointer() -> None:
    error = Overloaded("full", pointer="/a", retry_after_s=2.0)
    placed = below(error, "/pairs/3")
    assert (placed.pointer, error.pointer) == ("/pairs/3/a", "/a")
    assert isinstance(placed, Overloaded)
    assert (placed.detail, placed.retry_after_s) == ("full", 2.0)


def test_subclass_without_a_row_has_its_familys() -> None:
    class Special(UnusableInput):
        pass

    assert kind(Special("x")).status == 422
