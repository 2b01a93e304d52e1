"""What the commands print, as tables. No tests."""

from __future__ import annotations

import re


def printed_tables(printed: str) -> dict[str, list[dict[str, str]]]:
    """Heading -> its rows, column -> cell."""
    blocks = re.findall(r"^([^|\n]+)\n\n((?:\|.*\n)+)", printed, re.MULTILINE)
    tables = {}
    for heading, text in blocks:
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
        tables[heading] = [dict(zip(header, row, strict=True)) for row in rows]
    return tables


def value_of(cell: str) -> float:
    """The value of `value [low, high]`."""
    return float(cell.partition(" ")[0])


def bounds_of(cell: str) -> tuple[float, float]:
    """The bounds of `value [low, high]`."""
    low, high = re.findall(r"[\d.e-]+|unbounded", cell.partition("[")[2])
    return float(low), float("inf") if high == "unbounded" else float(high)
