"""What a record holds, its digest, and the check of one that came back. Knows no models and no keys' files.

The canonical form is RFC 8785 (JSON Canonicalization Scheme), which libraries of many languages write: `sha256` is the
digest of the record without `sha256` and `signature`, and `signature` signs the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

FORMAT_VERSION = 1
APART = ("sha256", "signature")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class Input(_Part):
    """One item that was compared, by its digest."""

    form: Literal["base64", "text", "values", "embedding"]
    sha256: Sha256 = Field(
        description="of the decoded bytes; of a text its UTF-8; of values their float64, row by row, null as NaN; of "
        "an embedding its float32; both little-endian"
    )
    options: dict[str, Any] = Field(description="the item's other members, such as rate, prefix or truncate")


class Asked(_Part):
    """How the request said where to judge; null where it did not."""

    operating_point: str | None
    max_fmr: Number | None
    max_fnmr: Number | None
    threshold: Number | None
    impostor: str | None
    references: int = Field(ge=1, description="how many references shared max_fmr; 1 in /compare")


class Point(_Part):
    """Where it was judged."""

    name: str | None
    source: Literal["default", "named", "max_fmr", "max_fmr_max_fnmr", "caller"]
    impostor: str | None
    threshold: Number
    threshold_low: Number | None


class Ground(_Part):
    """Why the verdict is undetermined, or what its rates do not cover."""

    code: str
    side: str | None


class Signature(_Part):
    """A signature of the canonical record."""

    algorithm: Literal["ed25519"]
    key_id: str = Field(description="first 16 hexadecimal digits of the SHA-256 of the raw public key")
    value: str = Field(description="base64 of 64 bytes")


class Record(_Part):
    """One verdict and all it was taken on: replayable, with its inputs, by `twinserve replay`. Holds no payload."""

    format_version: Literal[1]
    request_id: str
    route: Literal["/compare", "/compare/batch", "/match"]
    pointer: str = Field(description="the pair or reference inside the request, such as /pairs/3; empty in /compare")
    time: str = Field(description="RFC 3339, UTC")
    service: str = Field(description="version of the service")
    model: str
    version: str
    fingerprint: Sha256
    calibration: str | None = Field(description="id of the evidence")
    provider: str = Field(description="execution provider of the inference")
    inputs: list[Input] = Field(min_length=2, description="a and b; or the probe and the items of the reference")
    aggregation: Literal["single", "max", "mean"]
    asked: Asked
    operating_point: Point | None
    guard_band: Number = Field(ge=0)
    score: Number
    verdict: Literal["match", "no_match", "undetermined"]
    reasons: list[Ground]
    sha256: Sha256 = Field(description="of the canonical record (RFC 8785) without sha256 and signature")
    signature: Signature | None


class RecordError(Exception):
    """A record that is none, was changed, or is not signed as it should be; says in one line what is wrong."""


def seal(content: Mapping[str, Any], sign: Callable[[bytes], Mapping[str, str]] | None) -> dict[str, Any]:
    """The record of this content, which has all members but `sha256` and `signature`; signed where `sign` is given."""
    canonical = rfc8785.dumps(dict(content))
    digest = hashlib.sha256(canonical).hexdigest()
    return {**content, "sha256": digest, "signature": None if sign is None else dict(sign(canonical))}


def check(value: Any, verify: Callable[[bytes, Signature], None] | None) -> Record:
    """The record that `value` is, digest and signature checked. Raises RecordError.

    `verify` raises RecordError for a signature that is not its key's; where it is given, a signature there must be.
    Without it nothing is said of one.
    """
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise RecordError(f"format_version {version} is newer than {FORMAT_VERSION}: update twinserve")
    try:
        record = Record.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise RecordError(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}") from None
    try:
        canonical = rfc8785.dumps({name: part for name, part in value.items() if name not in APART})
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise RecordError(f"it has no canonical form: {error}") from None
    if hashlib.sha256(canonical).hexdigest() != record.sha256:
        raise RecordError("sha256 is not that of the record: it was changed")
    if verify is not None:
        if record.signature is None:
            raise RecordError("it is not signed")
        verify(canonical, record.signature)
    return record
