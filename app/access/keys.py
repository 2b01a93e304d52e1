"""The file of keys: TOML, one `[[key]]` table a key, and how a new one is made. Nothing here reads or writes files.

Only the SHA-256 of a secret is stored. A secret is 256 random bits, so that nobody can try them all: a slow hash,
which is there for passwords that people choose, would protect nothing more and cost every request.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import tomllib
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.core.errors import KeysRefused

MOST_BYTES = 64 * 1024
"""Bytes of a file, some 400 keys: it travels to each worker in one message, and each request is held against all."""
PREFIX = "tws_"
"""What a secret begins with, so that scanners for leaked secrets, and people, know one when they see it."""

Scope = Literal["compare", "embed", "admin"]
Disclosure = Literal["full", "verdict"]


class Key(BaseModel):
    """One entry. `models` holds names or name@version, None allows all; `burst` is at least 1 where there is a rate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: Annotated[frozenset[Scope], Field(strict=False, min_length=1)]
    models: Annotated[frozenset[str], Field(strict=False, min_length=1)] | None = None
    rate_per_s: float | None = Field(None, gt=0)
    burst: int | None = Field(None, ge=1)
    disclosure: Disclosure = "full"

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.burst is not None and self.rate_per_s is None:
            raise ValueError("burst without rate_per_s")
        if self.disclosure == "verdict" and "embed" in self.scopes:
            raise ValueError("a key that sees verdicts only cannot have the scope embed: embeddings give every score")
        return self

    @property
    def sees_scores(self) -> bool:
        """Whether its caller is told more than the verdict."""
        return self.disclosure == "full"

    def may_use(self, name: str, version: str) -> bool:
        """Whether it allows this model."""
        return self.models is None or name in self.models or f"{name}@{version}" in self.models


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: list[Key] = Field(min_length=1)


def parse_keys(text: str) -> tuple[Key, ...]:
    """Read the text of a file of keys. Raises KeysRefused for what is no TOML, an unknown or wrong field, equal ids or
    secrets, no key at all, or more than MOST_BYTES; in one line that repeats no value: one may be a misplaced secret.
    """
    if len(text.encode()) > MOST_BYTES:
        raise KeysRefused(f"it is larger than {MOST_BYTES} bytes")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeysRefused(f"it is no valid TOML ({str(error).rpartition('(')[2].rstrip(')')})") from None
    keys = _checked(document)
    for field in ("id", "sha256"):
        values = [getattr(key, field) for key in keys]
        for place, value in enumerate(values):
            if value in values[:place]:
                raise KeysRefused(f"key {place + 1}: another key has the same {field}")
    return tuple(keys)


def make_entry(
    name: str,
    scopes: list[Scope],
    *,
    models: list[str] | None = None,
    rate_per_s: float | None = None,
    burst: int | None = None,
    disclosure: Disclosure = "full",
) -> tuple[str, str]:
    """Make a new secret, and the table that goes into the file for it. Raises KeysRefused as parse_keys does."""
    secret = PREFIX + secrets.token_urlsafe(32)
    fields = {
        "id": name,
        "sha256": digest(secret).hex(),
        "scopes": scopes,
        "models": models,
        "rate_per_s": rate_per_s,
        "burst": burst,
        "disclosure": disclosure,
    }
    given = {field: value for field, value in fields.items() if value is not None}
    _checked({"key": [given]})
    # JSON's strings, numbers and arrays of strings are TOML's too.
    table = "\n".join(["[[key]]", *(f"{field} = {json.dumps(value)}" for field, value in given.items()), ""])
    parse_keys(table)
    return secret, table


def digest(secret: str) -> bytes:
    """What is stored of a secret: 32 bytes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _checked(document: dict[str, Any]) -> list[Key]:
    try:
        return _File.model_validate(document).key
    except ValidationError as error:
        raise KeysRefused(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """The first fault in one line, without values."""
    fault = error.errors(include_url=False)[0]
    kind, *place = fault["loc"] or ("key",)
    number = f" {int(place[0]) + 1}" if kind == "key" and place and isinstance(place[0], int) else ""
    field = "".join(f", {part}" for part in place[1:2])
    said = {"extra_forbidden": "this field is not known", "missing": "this field is missing"}.get(fault["type"])
    return f"{kind}{number}{field}: {said or fault['msg'].removeprefix('Value error, ')}"
