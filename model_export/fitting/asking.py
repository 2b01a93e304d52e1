"""The request to try a fitted model with: two real items that match and did not train, as a command line for curl."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from app.core.modalities.base import Item
from model_export.beside import measured_items
from model_export.datasets import LabelledItems, Splits
from model_export.datasets.item_files import Items
from model_export.errors import CommandError
from model_export.subjects import Subject

SHORT = 600
"""Characters of a body that still stands in the command line."""
TRIED = 50
PLAIN = re.compile(r"[^\x00-\x1f\",;\\]+")
"""Names of files that curl's -F takes as they are."""


def curl(subject: Subject, splits: Splits, folder: Path) -> str:
    """The command line; a long body is written to `folder`. Raises CommandError where no pair can be compared."""
    items = measured_items(splits)
    a, b = _usable_pair(items, subject)
    url = f"http://127.0.0.1:{os.environ.get('TWINSERVE_PORT', '8000')}/compare"
    files = [items.items.file(place) for place in (a, b)] if isinstance(items.items, Items) else []
    if subject.form == "base64" and files and None not in files:
        parts = " ".join(f"-F {_part(side, file)}" for side, file in zip("ab", files, strict=True) if file)
        return f"curl -s '{url}?model={subject.key}' {parts}"
    body = json.dumps(
        {"model": subject.key, "a": _json(items.items[a]), "b": _json(items.items[b])}, ensure_ascii=False
    )
    said = shlex.quote(body)
    if len(body) > SHORT:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "request.json").write_text(body, "utf-8")
        said = shlex.quote(f"@{(folder / 'request.json').resolve()}")
    return f"curl -s {url} -H 'Content-Type: application/json' -d {said}"


def _usable_pair(items: LabelledItems, subject: Subject) -> tuple[int, int]:
    """Places of the first matching pair that the encoder takes."""
    for a, b, _ in zip(*_matching(items), range(TRIED), strict=False):
        try:
            if subject.embed([items.items[a], items.items[b]]).kept.all():
                return a, b
        except CommandError:  # both are refused
            continue
    raise CommandError("no two matching items of what is held out can be compared")


def _matching(items: LabelledItems) -> tuple[list[int], list[int]]:
    """Places of pairs that match: those labelled so, else two items of each identity."""
    if items.pairs is not None:
        return items.pairs.a[items.pairs.label].tolist(), items.pairs.b[items.pairs.label].tolist()
    order = np.argsort(items.identity, kind="stable")
    at = np.flatnonzero(np.diff(items.identity[order]) == 0)
    return order[at].tolist(), order[at + 1].tolist()


def _part(side: str, file: Path) -> str:
    path = str(file.resolve())
    if not PLAIN.fullmatch(path):
        escaped = path.replace("\\", "\\\\").replace('"', '\\"')
        path = f'"{escaped}"'
    return shlex.quote(f"{side}=@{path}")


def _json(item: Item) -> dict[str, Any]:
    """An item as over HTTP."""
    others = {name: value for name, value in item.items() if name != "bytes"}
    data = item.get("bytes")
    return others if data is None else {"base64": base64.b64encode(data).decode(), **others}
