"""What an item is: exactly one content member, in the form that the model's modality reads, or an embedding.

The content itself stays unread here: the modality decodes it later, with the item's other members.
"""

from __future__ import annotations

import binascii
import marshal
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.errors import (
    FingerprintMismatch,
    InvalidRequest,
    TwinserveError,
    UnsupportedMediaType,
    UnusableInput,
)
from app.core.modalities.base import FORMS, Item, Modality

NORM_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1 on a normalised model: far more than rounding explains."""

EMBEDDING = "embedding"
MEMBERS = (*FORMS, EMBEDDING)
URL = "url"
"""The member that stands for encoded bytes, where this service fetches them; remote.py does."""
TYPES = {"base64": (str, "a string"), "text": (str, "a string"), "values": (list, "an array")}

Key = tuple[str, bytes, bytes]
"""Form, content and other members: items of equal keys are the same bytes."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that did not come in JSON, with the media type that their sender declared, if any."""

    data: bytes
    media_type: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Encoded bytes that a URL stood for, or why there are none; `rest` are the item's other members."""

    content: bytes | TwinserveError
    rest: Mapping[str, Any]


RawItem = Mapping[str, Any] | Blob | Fetched


@dataclass(frozen=True, slots=True)
class Content:
    """An item to encode, as the modality reads it."""

    key: Key
    item: Item

    @property
    def size(self) -> int:
        """Bytes of its encoded content."""
        return len(self.key[1])


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """An embedding that the caller brought back, checked: float32 (d,)."""

    key: Key
    vector: npt.NDArray[np.float32]


def read_item(raw: RawItem, bundle: Bundle, modality: Modality) -> Content | Given:
    """Tell embeddings from content, and check that the item has the form that this model takes.

    Raises InvalidRequest for no or several content members, a form or a type that the model does not take, base64
    that is none; UnsupportedMediaType for a declared type that the form cannot take; and what `_read_embedding` says.
    """
    if isinstance(raw, Blob):
        return _content(modality.form, _from_blob(raw, bundle, modality), {})
    if isinstance(raw, Fetched):
        if isinstance(raw.content, TwinserveError):
            raise raw.content
        _check_no_bytes(raw.rest)
        return _content("base64", raw.content, raw.rest)
    if URL in raw:
        raise InvalidRequest("this service fetches no URLs; send the content itself")
    present = [name for name in MEMBERS if name in raw]
    if len(present) != 1:
        found = " and ".join(present) if present else "none of them"
        raise InvalidRequest(f"an item has exactly one of {', '.join(MEMBERS)}; this one has {found}")
    form = present[0]
    if form == EMBEDDING:
        return _read_embedding(raw, bundle)
    if form != modality.form:
        takes = f'{FORMS[modality.form]} as {{"{modality.form}": ...}}'
        raise InvalidRequest(f"model {bundle.name} takes {takes}, or an embedding it gave out; it takes no {form}")
    value, (kind, called) = raw[form], TYPES[form]
    if not isinstance(value, kind):
        raise InvalidRequest(f"{form} must be {called}")
    _check_no_bytes(raw)
    rest = {name: member for name, member in raw.items() if name != form}
    return _content(form, _decode_base64(value) if form == "base64" else value, rest)


def _check_no_bytes(members: Mapping[str, Any]) -> None:
    if "bytes" in members:  # the name under which decoded base64 travels; never a member over HTTP
        raise InvalidRequest("an item has no member bytes; send base64")


def _content(form: str, value: Any, rest: Mapping[str, Any]) -> Content:
    if form == "base64":
        return Content((form, value, _canonical(rest)), {**rest, "bytes": value})
    content = value.encode() if isinstance(value, str) else _canonical(value)
    return Content((form, content, _canonical(rest)), {**rest, form: value})


def _canonical(value: Any) -> bytes:
    """Bytes that are equal only for equal JSON values. Unlike a JSON writer, marshal keeps infinities and 1 apart
    from null and 1.0; version 2 writes no back references, so that equal values give equal bytes.
    """
    return marshal.dumps(sorted(value.items()) if isinstance(value, Mapping) else value, 2)


def _from_blob(blob: Blob, bundle: Bundle, modality: Modality) -> Any:
    """The blob's content in the modality's form. Only the declared type and the model's form decide, never its look."""
    declared, _, parameters = (blob.media_type or "").partition(";")
    declared = declared.strip().lower()
    if modality.form == "base64" and (
        declared in ("", "application/octet-stream") or declared.startswith(modality.media_types)
    ):
        return blob.data
    if modality.form == "text" and (not declared or declared.startswith("text/")):
        charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip('" ')
        if charset not in ("", "utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType("text is taken in UTF-8 only; convert it")
        try:
            return blob.data.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest("the text is not UTF-8; convert it") from None
    takes = {"base64": [f"{prefix}*" for prefix in modality.media_types], "text": ["text/*"]}.get(modality.form, [])
    raise UnsupportedMediaType(
        f"model {bundle.name} does not take content declared as {'this type' if declared else 'bytes without a type'}; "
        f"it takes {', '.join([*takes, 'application/json'])}"
    )


def _decode_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error is one; so is the refusal of what is not ASCII
        detail = "the base64 cannot be read: send padded base64 (RFC 4648, section 4) without a data: prefix or spaces"
        raise InvalidRequest(detail) from None


def _read_embedding(raw: Mapping[str, Any], bundle: Bundle) -> Given:
    """Check an embedding that comes back: whose it is, then its length, then its values.

    Raises InvalidRequest for a missing or wrongly typed member or a wrong length, FingerprintMismatch for one of
    another model, UnusableInput for one that is not finite, zero, or not of length 1 on a normalised model.
    """
    given = raw.get("fingerprint")
    if not isinstance(given, str):
        detail = "an embedding needs the fingerprint that it was given out with, as a string"
        raise InvalidRequest(detail)
    if len(raw) != 2:
        raise InvalidRequest("an embedding item has the members embedding and fingerprint only; remove the others")
    if given != bundle.fingerprint:
        detail = f"this embedding is not of {bundle.name} in the version served; embed the item again with this model"
        raise FingerprintMismatch(detail)
    vector = _read_vector(raw[EMBEDDING], bundle.manifest.embedding.dimension)
    wide = vector.astype(np.float64)
    norm = math.sqrt(wide.dot(wide))  # the squares of float32 values stay far below what float64 holds
    if not math.isfinite(norm):
        raise UnusableInput("the embedding holds values that are not finite; embed the item again")
    if norm == 0.0:
        raise UnusableInput("the embedding is zero; embed the item again")
    if bundle.manifest.embedding.normalized and abs(norm - 1.0) > NORM_TOLERANCE:
        detail = f"the embedding has length {norm:.6g}, but this model gives length 1; send it as it was given out"
        raise UnusableInput(detail)
    return Given((EMBEDDING, vector.tobytes(), b""), vector)


def _wrong_length(dimension: int) -> str:
    return f"the embedding must have {dimension} values"


def _read_vector(value: Any, dimension: int) -> npt.NDArray[np.float32]:
    """float32 (dimension,) from a list of numbers or base64 of little-endian float32. They may be non-finite."""
    if isinstance(value, str):
        data = _decode_base64(value)
        if len(data) != 4 * dimension:
            raise InvalidRequest(_wrong_length(dimension))
        return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
    if isinstance(value, list) and len(value) != dimension:
        raise InvalidRequest(_wrong_length(dimension))
    if not isinstance(value, list) or not all(type(number) in (int, float) for number in value):
        detail = "embedding must be an array of numbers, or base64 of little-endian float32"
        raise InvalidRequest(detail)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused as such
        try:
            return np.array(value, dtype=np.float64).astype(np.float32)
        except OverflowError:  # an integer beyond float64
            return np.full(dimension, np.inf, dtype=np.float32)
