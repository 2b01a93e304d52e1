"""How many CPUs this process may really use, and which of its threads go first on them.

It is the least of cgroup quota and affinity, never the host's core count. The parsing functions are pure and take text;
only available_cpus and _quotas read the machine.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

STEPS_BACK = 5
"""Of niceness. On one CPU with a thread that wants all of it, one that steps back so far still gets a quarter, as bulk
gets of the places of a batch: it is slowed, never starved."""


def step_back() -> None:
    """Have the system prefer other threads to the calling one, for good, where threads have weights of their own.

    For a thread that computes for milliseconds on end beside an event loop that wants microseconds: by default the loop
    waits for the end of the other's slice, and whoever asks with it. Only Linux weighs threads, within their cgroup.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox that forbids it: no request is answered otherwise for it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + STEPS_BACK)


def available_cpus(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the whole CPUs that this process may use, at least 1.

    A quota of 2.5 CPUs is 2: a third thread would be throttled half of the time. Without cgroups (not Linux), the
    affinity alone counts, or the CPU count where the platform knows no affinity.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return whole_cpus(min([float(affinity), *_quotas(_read(proc / "cgroup"), root)]))


def whole_cpus(cpus: float) -> int:
    """Round down, but never below one."""
    return max(1, math.floor(cpus))


def own_groups(text: str) -> dict[str, str]:
    """Parse /proc/self/cgroup to {controller: path}; the unified hierarchy (v2) has the key ''.

    Lines are `number:controllers:path`; a path may hold colons. Lines of another shape are skipped.
    """
    groups: dict[str, str] = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            groups.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return groups


def quota_v2(text: str) -> float | None:
    """Parse cpu.max, `quota period` in microseconds or `max period`, to CPUs; None for no limit."""
    return _ratio(*text.split()) if len(text.split()) == 2 else None


def quota_v1(quota: str, period: str) -> float | None:
    """Parse cpu.cfs_quota_us (-1 for no limit) and cpu.cfs_period_us to CPUs; None for no limit."""
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # `max`, or a file that is not there
        return None
    return cpus if cpus > 0 else None


def _quotas(groups_text: str, root: Path) -> Iterator[float]:
    """Every quota on this process's group and the groups above it: each one binds."""
    groups = own_groups(groups_text)
    for folder in _upwards(root, groups.get("")) + _upwards(root / "unified", groups.get("")):
        if (quota := quota_v2(_read(folder / "cpu.max"))) is not None:
            yield quota
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _upwards(root / mount, groups.get("cpu")):
            quota = quota_v1(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
            if quota is not None:
                yield quota


def _upwards(mount: Path, group: str | None) -> list[Path]:
    """The group's folder and those above it, up to the mount.

    Inside a container the mount often shows the container's own group as its root while the group's path is the
    host's, or leads outside with `..`; folders that are not there read as no limit, and the mount itself always counts.
    """
    parts = [part for part in (group or "/").split("/") if part]
    if ".." in parts:
        parts = []
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
