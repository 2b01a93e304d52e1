"""Pair tables over pictures of the tiny bundle's patterns, for the tests of `calibrate` and `evaluate`. No tests."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from tests.tiny import tiny_png

UNITS = 40


def write_pictures(folder: Path, units: int = UNITS, first: int = 3000) -> Path:
    """pairs.csv over PNG files: two genuine pairs of each unit, and impostor pairs of every two units."""
    folder.mkdir(parents=True, exist_ok=True)
    for unit in range(units):
        for variant in range(3):
            (folder / f"{unit}_{variant}.png").write_bytes(tiny_png(first + unit, variant))
    rows = [(f"{unit}_0.png", f"{unit}_{variant}.png", 1) for unit in range(units) for variant in (1, 2)]
    rows += [(f"{a}_{b % 3}.png", f"{b}_{a % 3}.png", 0) for a in range(units) for b in range(a)]
    return write_rows(folder / "pairs.csv", rows)


def read_csv(path: Path) -> list[list[str]]:
    """The rows below the header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def write_rows(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = ("a", "b", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
