"""From an error's meaning to its HTTP status and problem details (RFC 9457): the one table. Nothing else decides one.

A body holds no payload, no server path and no trace: an error that is not one of ours becomes `internal`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

from app.core import errors

UNEXPECTED = "The service failed on this request; its operator finds the reason in the log under the request id."


@dataclass(frozen=True, slots=True)
class Kind:
    """How a family of errors looks over HTTP."""

    status: int
    title: str


KINDS: Mapping[type[errors.TwinserveError], Kind] = {
    errors.InvalidRequest: Kind(422, "Invalid request"),
    errors.OperatingPointUnavailable: Kind(422, "Operating point unavailable"),
    errors.UnusableInput: Kind(422, "Unusable input"),
    errors.UnsupportedMediaType: Kind(415, "Unsupported media type"),
    errors.TooLarge: Kind(413, "Too large"),
    errors.FingerprintMismatch: Kind(409, "Embedding of another model"),
    errors.UnknownModel: Kind(404, "Unknown model"),
    errors.NotFound: Kind(404, "Not found"),
    errors.MethodNotAllowed: Kind(405, "Method not allowed"),
    errors.Unauthorized: Kind(401, "Unauthorized"),
    errors.Forbidden: Kind(403, "Forbidden"),
    errors.Overloaded: Kind(429, "Overloaded"),
    errors.RateLimited: Kind(429, "Rate limited"),
    errors.NotReady: Kind(503, "Not ready"),
    errors.DeadlineExceeded: Kind(504, "Deadline exceeded"),
    errors.ClientTimeout: Kind(408, "Client timeout"),
    errors.Internal: Kind(500, "Internal error"),
}


def kind(error: errors.TwinserveError) -> Kind:
    """The row of the nearest family that has one; an error without a family is ours."""
    return next((KINDS[family] for family in type(error).__mro__ if family in KINDS), KINDS[errors.Internal])


def code(error: errors.TwinserveError) -> str:
    """The stable word for a program; that of `internal` for an error that no caller should meet."""
    return error.code if kind(error).status != 500 else errors.Internal.code


def problem(error: errors.TwinserveError, request_id: str) -> dict[str, Any]:
    """The problem details of one error. `pointer` is there only where the error has one."""
    row = kind(error)
    document = {
        "type": f"urn:twinserve:error:{code(error)}",
        "title": row.title,
        "status": row.status,
        "detail": error.detail if row.status != 500 or isinstance(error, errors.Internal) else UNEXPECTED,
        "code": code(error),
        "retryable": isinstance(error, errors.Transient),
        "request_id": request_id,
    }
    if error.pointer is not None:
        document["pointer"] = error.pointer
    return document


def headers(error: errors.TwinserveError) -> dict[str, str]:
    """Retry-After, in whole seconds and at least one, where a caller is asked to come back; how to send a key."""
    if kind(error).status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if not isinstance(error, errors.Transient) or kind(error).status not in (429, 503):
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after_s or 1.0)))}


def below(error: errors.TwinserveError, prefix: str) -> errors.TwinserveError:
    """A copy of an item's error with its pointer below `prefix`; several pairs may share the one error."""
    return copy.copy(error).at(prefix)


def from_routing(error: HTTPException) -> errors.TwinserveError:
    """What the router raises: no such path, or not this method on it."""
    if error.status_code == 404:
        return errors.NotFound("There is no such route; GET /docs lists those there are.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return errors.MethodNotAllowed(f"This route answers {allowed} only.")
    return errors.Internal(UNEXPECTED)
