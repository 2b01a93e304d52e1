"""CPU time and memory of process trees, read from /proc. Linux only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for task in _text(PROC / str(pid) / "task", listing=True).split():
        for child in _text(PROC / str(pid) / "task" / task / "children").split():
            found += tree(int(child))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of live processes, and of their children that have ended."""
    total = 0
    for pid in pids:
        fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size, in MB of 10^6 bytes: a page that several share counts as a fraction for each."""
    total = 0
    for pid in pids:
        found = re.search(r"^Pss: +(\d+) kB", _text(PROC / str(pid) / "smaps_rollup"), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total * 1024 / 1e6


def _text(path: Path, *, listing: bool = False) -> str:
    """A file of /proc, or a folder's names; empty where the process has ended."""
    try:
        return " ".join(entry.name for entry in path.iterdir()) if listing else path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
