"""Items from files and table cells, in the forms that the service takes; read when asked for, never all held."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from app.core.bundle import canonical_json
from app.core.modalities.base import FORMS, Item
from model_export.errors import CommandError

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm"),
    "audio": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    "text": (".txt", ".json"),
    "series": (".json",),
}
"""Modality -> how the names of its items' files end, in lower case."""
FORM_OF = {"image": "base64", "audio": "base64", "text": "text", "series": "values"}
"""Modality -> the member of FORMS that carries its content."""


class Items(Sequence[Item]):
    """Items, each read anew when asked for, so that a large table of files need not be held."""

    def __init__(self, loaders: list[Callable[[], Item]]) -> None:
        self._loaders = loaders

    def __len__(self) -> int:
        return len(self._loaders)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return Items(self._loaders[index]) if isinstance(index, slice) else self._loaders[index]()

    def file(self, place: int) -> Path | None:
        """The file that an item is read from; None where it stands in a table."""
        loader = self._loaders[place]
        return loader.args[0] if isinstance(loader, partial) and loader.func is read_item else None

    def pick(self, places: Iterable[int]) -> Items:
        """The items at these places, in this order, none of them read."""
        return Items([self._loaders[place] for place in places])


def read_item(path: Path, form: str) -> Item:
    """The item in a file: its bytes, its text, or the item that its JSON holds. Raises CommandError, naming the file.

    A text file is UTF-8, without the line ends that close it; for a model of text a .json file holds an item.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if form == "base64":
        return {"bytes": data}
    if form == "text" and path.suffix.lower() != ".json":
        try:
            return {"text": data.decode("utf-8-sig").rstrip("\r\n")}
        except UnicodeDecodeError as error:
            raise CommandError(f"{path}: is no UTF-8 text") from error
    try:
        item = json.loads(data)
    except ValueError as error:
        raise CommandError(f"{path}: is no JSON") from error
    if not isinstance(item, dict):
        raise CommandError(f"{path}: must hold one JSON object, the item")
    return from_http(item, form)


def from_http(item: Mapping[str, Any], form: str) -> Item:
    """An item as over HTTP in the engine's form. Raises CommandError unless its content is of the model's `form`."""
    given = sorted(set(item) & {*FORMS, "embedding"})
    if given != [form]:
        there = " and ".join(given) or "none of the kind"
        raise CommandError(f"this model takes {form} ({FORMS[form]}), and the item has {there}")
    if form == "text" and not isinstance(item["text"], str):
        raise CommandError("text is no text")
    if form != "base64":
        return item
    others = {name: value for name, value in item.items() if name != "base64"}
    try:
        return {"bytes": base64.b64decode(item["base64"], validate=True), **others}
    except (binascii.Error, ValueError, TypeError) as error:
        raise CommandError("base64 is not RFC 4648 base64 with padding") from error


def digest_item(item: Item) -> bytes:
    """What tells items of different content apart: SHA-256, 32 bytes."""
    others = {name: value for name, value in item.items() if name != "bytes"}
    content = item.get("bytes")
    return hashlib.sha256(canonical_json([content is not None, others]) + b"\0" + (content or b"")).digest()
