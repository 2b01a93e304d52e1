"""Little folders and tables of one's own data, and recipes that read them, for the tests of the three forms."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model_export.recipe import Recipe, read_recipe
from tests.model_export.tiny_sets import RECIPES

SHARED = 'licence = "our own"'


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """The rows in the form that the file's name says, columns as in the first row."""
    said = list(rows)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415

        parquet.write_table(pa.Table.from_pylist(said), path)
        return path
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in said)
    elif name.endswith(".tsv"):
        text = "".join("\t".join(map(str, row)) + "\n" for row in (said[0], *(row.values() for row in said)))
    else:
        file = StringIO(newline="")
        writer = csv.DictWriter(file, list(said[0]))
        writer.writeheader()
        writer.writerows(said)
        text = file.getvalue()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def texts(identities: int = 40, each: int = 3, **changes: Any) -> list[dict[str, Any]]:
    """Rows of text and identity, no two texts alike."""
    words = np.random.default_rng(0).integers(0, 26, (identities, each, 24)) + ord("a")
    return [
        {"text": "".join(map(chr, one)), "identity": f"what {number}", **changes}
        for number, several in enumerate(words)
        for one in several
    ]


def speckled(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture of smooth speckles like no other number's."""
    coarse = np.random.default_rng(number).integers(0, 255, (7, 9)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def write_pictures(folder: Path, identities: Sequence[str], each: int = 3) -> Path:
    """A folder an identity, each with pictures like no others."""
    for number, name in enumerate(identities):
        (folder / name).mkdir(parents=True)
        for one in range(each):
            (folder / name / f"{one}.png").write_bytes(encoded(speckled(each * number + one)))
    return folder


def own_recipe(path: Path, data: str, *, modality: str = "text", more: Mapping[str, str] | None = None) -> Recipe:
    """The recipe of the project for this modality, reading `data`, written to `path` and read; `more`: old -> new."""
    name = {"text": "questions", "image": "glyphs", "audio": "digits", "series": "heartbeat"}[modality]
    text = (RECIPES / f"{name}.toml").read_text("utf-8")
    start = text.index("[data]")
    end = text.index("\n[", start)
    text = f"{text[:start]}[data]\n{data}\n{text[end:]}"
    for old, new in ({'contrast = "paper"': 'contrast = "none"'} | dict(more or {})).items():
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return read_recipe(path)
