"""What a replay needs: the record in its file, the bundle that it names, the items as they were sent. Runs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiter
import numpy as np

from app.core.bundle import Bundle, find_bundles, read_bundle
from app.core.errors import BundleRefused
from app.records import Record, read_audit
from app.records.record import Input
from app.service.recording import pack_values


class ReplayError(Exception):
    """What keeps a verdict from being taken again, in one line."""


def find_record(file: Path, request_id: str | None, pointer: str | None) -> Any:
    """The JSON value of the only record in the file, or of the only one of this request and place in it."""
    try:
        text = file.read_bytes()
        try:
            found = [_parse(text)]
        except ValueError:  # more than one: a file of decisions
            found = [_parse(line) for line in read_audit(file)]
    except OSError as error:
        raise ReplayError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ReplayError(f"{file} holds neither a record as JSON nor one a line") from None
    wanted = {"request_id": request_id, "pointer": pointer}
    asked = {name: value for name, value in wanted.items() if value is not None}
    chosen = [one for one in found if isinstance(one, dict) and asked.items() <= one.items()]
    if len(chosen) != 1:
        hint = "" if chosen else "; look into the other files"
        more = "; name one with --request-id and --pointer" if len(chosen) > 1 else hint
        raise ReplayError(f"{file} holds {len(chosen)} such records{more}")
    return chosen[0]


def find_bundle(models: Path, record: Record) -> Bundle:
    """The bundle of the record, or another version of it with the same fingerprint, as a recalibration is."""
    there: list[Bundle] = []
    for folder in find_bundles(models):
        if folder.parent.name == record.model:
            try:
                there.append(read_bundle(folder))
            except BundleRefused as error:
                raise ReplayError(f"{record.model}@{folder.name} is refused: {error.detail}") from None
    same = [bundle for bundle in there if bundle.fingerprint == record.fingerprint]
    if not same:
        have = ", ".join(f"{bundle.key} {bundle.fingerprint[:12]}" for bundle in there) or "none of that name"
        wanted = f"{record.model}@{record.version} {record.fingerprint[:12]}"
        raise ReplayError(f"{models} has no bundle {wanted}; it has {have}")
    return max(same, key=lambda bundle: bundle.version == record.version)


def read_item(given: str, recorded: Input, fingerprint: str, *, as_text: bool) -> dict[str, Any]:
    """The item as it was sent: the file `given`, or that text itself. Raises ReplayError where it is another one.

    Bytes as they are; a text in UTF-8, whose last line may end; values, and embeddings if not their bytes, as JSON.
    """
    try:
        data = given.encode() if as_text else Path(given).read_bytes()
    except OSError as error:
        raise ReplayError(f"{given} cannot be read: {error.strerror}") from None
    for candidate in (data, data.removesuffix(b"\n").removesuffix(b"\r")):
        try:
            content, item = READERS[recorded.form](candidate)
        except (ValueError, TypeError, OverflowError):
            continue
        if hashlib.sha256(content).hexdigest() == recorded.sha256:
            extra = {"fingerprint": fingerprint} if recorded.form == "embedding" else recorded.options
            return {**item, **extra}
    what = "this text" if as_text else given
    raise ReplayError(f"{what} is not what was compared: its digest is another than {recorded.sha256}")


def _bytes(data: bytes) -> tuple[bytes, dict[str, Any]]:
    return data, {"base64": base64.b64encode(data).decode()}


def _text(data: bytes) -> tuple[bytes, dict[str, Any]]:
    return data, {"text": data.decode()}


def _values(data: bytes) -> tuple[bytes, dict[str, Any]]:
    rows = _parse(data)
    return pack_values(rows), {"values": rows}


def _embedding(data: bytes) -> tuple[bytes, dict[str, Any]]:
    if data.lstrip()[:1] == b"[":
        data = np.array(json.loads(data), dtype=np.float64).astype("<f4").tobytes()
    return data, {"embedding": base64.b64encode(data).decode()}


READERS: dict[str, Callable[[bytes], tuple[bytes, dict[str, Any]]]] = {
    "base64": _bytes,
    "text": _text,
    "values": _values,
    "embedding": _embedding,
}


def _parse(data: bytes) -> Any:
    return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
