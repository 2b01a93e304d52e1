"""A real service in its own processes, for tests: started, watched through /proc, and always ended."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

Found = TypeVar("Found")

DEADLINE_S = 90.0
"""Far longer than anything takes; only a machine that is starved of CPU comes near it."""


def wait_for(what: str, look: Callable[[], Found | None]) -> Found:
    """Poll until `look` returns something true; fails after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {what} within {DEADLINE_S} s")


class LiveService:
    """A running `python -m app`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.first_statuses: list[int] = []
        """What the fixture's first requests got, from before any worker was up."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stderr)

    def said(self, pattern: str) -> re.Match[str] | None:
        """The first line on stderr so far that matches."""
        return next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)

    @property
    def url(self) -> str:
        return wait_for("listening line", lambda: self.said(r"listening on (\S+)")).group(1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def get(self, path: str) -> httpx.Response:
        """One request on a connection of its own."""
        return httpx.get(self.url + path, timeout=DEADLINE_S)

    def post(self, path: str, body: object) -> httpx.Response:
        """The same with a JSON body."""
        return httpx.post(self.url + path, json=body, timeout=DEADLINE_S)

    def metric(self, sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    def wait_ready(self, workers: int) -> None:
        """Until so many workers are ready."""
        wait_for(f"{workers} ready workers", lambda: self.metric('twinserve_workers{state="ready"}') == workers)

    def worker_pids(self) -> list[int]:
        """Live worker processes, the oldest first."""
        pid = self.process.pid
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
        return sorted(child for child in children if is_worker(child))

    def connections_by_worker(self) -> dict[int, int]:
        """How many of its established HTTP connections each worker holds."""
        inodes = established_inodes(self.port)
        return {pid: sum(inode in inodes for inode in socket_inodes(pid)) for pid in self.worker_pids()}

    def wait_exit(self) -> int:
        """Until it has ended by itself; its exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code


def is_worker(pid: int) -> bool:
    """Whether the process is there, is no zombie and was spawned as a worker."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_for_end(pid: int) -> None:
    """Until the worker is gone."""
    wait_for(f"end of worker {pid}", lambda: not is_worker(pid))


def established_inodes(port: int) -> set[str]:
    """Inodes of the sockets on the server's side of the connections to a local port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port and row[3] == "01"}


def socket_inodes(pid: int) -> list[str]:
    """Inodes of the sockets that a process holds."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                found.append(target[len("socket:[") : -1])
    return found


@contextlib.contextmanager
def live_service(models: Path, python_path: Path | None = None, /, **settings: object) -> Iterator[LiveService]:
    """Start a service on a free port with these settings; kill whatever is left of it at the end.

    Each of its processes first runs the sitecustomize.py in `python_path`.
    """
    with tempfile.TemporaryDirectory(prefix="twinserve-test-") as temporary:  # a killed service cannot tidy up
        variables = {"TMPDIR": temporary} | ({} if python_path is None else {"PYTHONPATH": str(python_path)})
        yield from _run(models, settings, variables)


def _run(models: Path, settings: Mapping[str, object], variables: Mapping[str, str]) -> Iterator[LiveService]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    chosen = {"models": models, "port": 0, "workers": 1, "device": "cpu", **settings}
    environment = own | dict(variables) | {f"TWINSERVE_{name.upper()}": str(value) for name, value in chosen.items()}
    process = subprocess.Popen([sys.executable, "-m", "app"], stderr=subprocess.PIPE, text=True, env=environment)
    service = LiveService(process)
    workers: list[int] = []
    try:
        yield service
        with contextlib.suppress(OSError):
            workers = service.worker_pids()
    finally:
        process.kill()
        process.wait()
        for pid in filter(is_worker, workers):
            wait_for_end(pid)
        service._reader.join(DEADLINE_S)
        if process.stderr is not None:
            process.stderr.close()
