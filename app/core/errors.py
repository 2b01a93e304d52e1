"""Every error a caller can meet, by meaning. HTTP statuses live at the edge, in app/api/errors.py.

    TwinserveError
    ├── InvalidRequest            the request itself is wrong
    │   └── OperatingPointUnavailable   it asks for more than the evidence supports
    ├── UnusableInput             an item cannot be decoded, is blank, too short, not finite
    ├── UnsupportedMediaType      the declared type is not one that this model takes
    ├── TooLarge                  beyond a limit that no retry can change
    ├── FingerprintMismatch       an embedding of another encoder
    ├── UnknownModel              no such bundle is served
    ├── NotFound                  no such route
    ├── MethodNotAllowed          the route exists, the method does not
    ├── Unauthorized              no valid key
    │   └── Forbidden             a valid key without this scope
    ├── Transient                 the same request may succeed later
    │   ├── Overloaded            the queue is full
    │   ├── RateLimited           this caller is over its rate
    │   ├── NotReady              no model is ready to answer
    │   ├── DeadlineExceeded      the time allowed for the request is over
    │   └── ClientTimeout         the client did not send its body in time
    ├── Internal                  our fault
    ├── BundleRefused             a bundle is not served (start-up and reload only)
    ├── KeysRefused               the file of keys is not used (start-up and reload only)
    └── DeviceUnavailable         the device asked for, or ONNX Runtime itself, is not to be had (start-up only)

A detail is one sentence for the caller that says what to do. It never holds a payload, a server path or a trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self


class TwinserveError(Exception):
    """Base of all errors of the service.

    `code` is the stable word a program can branch on; `detail` a sentence for a person; `pointer` an RFC 6901
    JSON pointer to the part of the request at fault, or None.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str, *, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer

    def at(self, prefix: str) -> Self:
        """Return this error with its pointer placed below `prefix`, as when an item's error becomes its pair's."""
        self.pointer = prefix + (self.pointer or "")
        return self


class InvalidRequest(TwinserveError):
    code = "invalid_request"


class OperatingPointUnavailable(InvalidRequest):
    code = "operating_point_unavailable"


class UnusableInput(TwinserveError):
    code = "unusable_input"


class UnsupportedMediaType(TwinserveError):
    code = "unsupported_media_type"


class TooLarge(TwinserveError):
    code = "too_large"


class FingerprintMismatch(TwinserveError):
    code = "fingerprint_mismatch"


class UnknownModel(TwinserveError):
    code = "unknown_model"


class NotFound(TwinserveError):
    code = "not_found"


class MethodNotAllowed(TwinserveError):
    code = "method_not_allowed"


class Unauthorized(TwinserveError):
    code = "unauthorized"


class Forbidden(Unauthorized):
    code = "forbidden"


class Transient(TwinserveError):
    """An error that the same request may not meet later. `retry_after_s` is an honest guess in seconds, or None."""

    def __init__(self, detail: str, *, pointer: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(detail, pointer=pointer)
        self.retry_after_s = retry_after_s


StillFull = Callable[[], float | None]
"""Asks a queue that has refused: the seconds until it may have a place for one item, None where it has one now."""


class Overloaded(Transient):
    """`still_full` asks the queue that refused; None where it was no queue, or only many items found no place."""

    code = "overloaded"

    def __init__(
        self,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: float | None = None,
        still_full: StillFull | None = None,
    ) -> None:
        super().__init__(detail, pointer=pointer, retry_after_s=retry_after_s)
        self.still_full = still_full


class RateLimited(Transient):
    code = "rate_limited"


class NotReady(Transient):
    code = "not_ready"


class DeadlineExceeded(Transient):
    code = "deadline_exceeded"


class ClientTimeout(Transient):
    code = "client_timeout"


class Internal(TwinserveError):
    code = "internal"


class BundleRefused(TwinserveError):
    code = "bundle_refused"


class KeysRefused(TwinserveError):
    code = "keys_refused"


class DeviceUnavailable(TwinserveError):
    code = "device_unavailable"
