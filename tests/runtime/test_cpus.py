"""Threads follow what the process may really use, whatever the host has."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.runtime.cpus import STEPS_BACK, available_cpus, own_groups, quota_v1, quota_v2, step_back, whole_cpus

V1 = "4:memory:/docker/abc\n3:cpuset:/\n2:cpu,cpuacct:/docker/a:b\n0::/\n"


@pytest.mark.parametrize(("cpus", "whole"), [(0.25, 1), (1.0, 1), (1.99, 1), (2.5, 2), (64.0, 64)])
def test_part_of_a_cpu_is_no_cpu_but_one_is_always_used(cpus: float, whole: int) -> None:
    assert whole_cpus(cpus) == whole


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000", None), ("150000 100000", 1.5), ("50000 100000", 0.5), ("", None), ("junk", None), ("1 0", None)],
)
def test_cpu_max_is_quota_over_period(text: str, cpus: float | None) -> None:
    assert quota_v2(text) == cpus


@pytest.mark.parametrize(
    ("quota", "period", "cpus"), [("-1", "100000", None), ("300000", "100000", 3.0), ("", "", None), ("0", "1", None)]
)
def test_cfs_quota_is_quota_over_period(quota: str, period: str, cpus: float | None) -> None:
    assert quota_v1(quota, period) == cpus


def test_own_group_is_found_by_controller_even_with_colons_in_its_path() -> None:
    assert own_groups(V1)["cpu"] == "/docker/a:b"
    assert own_groups(V1)["memory"] == "/docker/abc"
    assert own_groups("0::/user.slice/x\n") == {"": "/user.slice/x"}
    assert own_groups("") == {}
    assert own_groups("nonsense\n") == {}


def machine(root: Path, groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A made-up /proc/self and /sys/fs/cgroup."""
    proc, cgroup = root / "proc", root / "cgroup"
    for path, text in {"proc/cgroup": groups, **{f"cgroup/{name}": text for name, text in files.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n", encoding="utf-8")
    return proc, cgroup


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "300000 100000"}, 3),
        ("0::/pod/box", {"pod/box/cpu.max": "max 100000", "pod/cpu.max": "250000 100000"}, 2),
        ("0::/pod/box", {"pod/box/cpu.max": "100000 100000", "pod/cpu.max": "400000 100000"}, 1),
        ("0::/host/path/not/mounted", {"cpu.max": "200000 100000"}, 2),
        ("0::/../outside", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu/docker/a:b/cpu.cfs_quota_us": "350000", "cpu/docker/a:b/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("0::/", {"unified/cpu.max": "200000 100000"}, 2),
        ("", {}, 64),
        ("0::/", {"cpu.max": "10000 100000"}, 1),
    ],
)
def test_least_of_affinity_and_every_quota_above_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert available_cpus(*machine(tmp_path, groups, files)) == cpus


def test_affinity_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert available_cpus(*machine(tmp_path, "0::/", {"cpu.max": "800000 100000"})) == 1


def test_this_machine_gives_at_least_one_and_no_more_than_it_has() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux weighs threads")
def test_thread_steps_back_behind_the_others_of_its_process() -> None:
    own = niceness()
    with ThreadPoolExecutor(1, initializer=step_back) as patient, ThreadPoolExecutor(1) as other:
        assert patient.submit(niceness).result() == min(own + STEPS_BACK, 19)
        assert other.submit(niceness).result() == own
    assert niceness() == own


def test_where_it_may_not_step_back_a_thread_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with ThreadPoolExecutor(1, initializer=step_back) as patient:
        assert patient.submit(len, "abc").result() == 3
