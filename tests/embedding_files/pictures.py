"""Folders of tiny pictures, what they embed to, and what a run has written about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from app.cli import main
from app.core.bundle import read_bundle
from app.core.modalities.base import Limits
from tests.tiny import open_tiny, tiny_png

Rows = dict[str, dict[str, Any]]


def write_pictures(folder: Path, count: int) -> list[str]:
    """Write so many pictures, in two folders below; return their ids in the order of a run."""
    names = [f"{'ab'[number % 2]}/{number:03d}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tiny_png(number % 8, number // 8))
    return sorted(names)


def expected(models: Path, folder: Path, names: list[str]) -> npt.NDArray[np.float32]:
    """The embeddings of pictures, from the encoder itself."""
    encoder = open_tiny(read_bundle(models / "tiny" / "1.0.0"))
    return encoder.embed([{"bytes": (folder / name).read_bytes()} for name in names], Limits())


def run(models: Path, source: Path, out: Path, *more: str) -> int:
    """Run the command in this process, with one process that embeds."""
    arguments = ["embed-files", str(source), "--out", str(out), "--models", str(models), "--workers", "1"]
    return main([*arguments, *more])


def shards(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def rows(out: Path) -> Rows:
    """All rows by id; none of them twice."""
    found = [row for file in shards(out) for row in pq.read_table(file).to_pylist()]
    by_id = {row["id"]: row for row in found}
    assert len(by_id) == len(found), "an item is there twice"
    return by_id


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "embeddings.json").read_text())
    return found
