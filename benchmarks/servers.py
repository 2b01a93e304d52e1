"""A server under test: started in processes of its own, held still while others are measured, ended at the end."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import tree

START_S = 180.0
STOP_S = 15.0
WAKE_S = 0.2


class ServerError(Exception):
    """A server did not come up; the text says what it printed last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. Its processes are one process group."""

    pid: int
    port: int
    ready_s: float
    """Seconds from its start to its first ready answer."""

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return tree(self.pid)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run meanwhile; outside of this it stands still, so that idle loops take nothing from others."""
        os.killpg(self.pid, signal.SIGCONT)
        time.sleep(WAKE_S)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGSTOP)


@contextlib.contextmanager
def started(command: Sequence[str], ready: str, log: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Start `command`, in which {port} stands for a free port, until GET `ready` answers 200; end it after.

    `environment` is added to this process's own, less the service's settings. Output goes to `log`. Raises ServerError.
    """
    port = _free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**own, **environment},
            start_new_session=True,
        )
    try:
        _wait_ready(process, port, ready, log)
        server = Server(process.pid, port, time.perf_counter() - began)
        os.killpg(process.pid, signal.SIGSTOP)
        yield server
    finally:
        _end(process)


def _wait_ready(process: subprocess.Popen[bytes], port: int, ready: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if status_of(port, ready) == 200:
            return
        time.sleep(0.02)
    last = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise ServerError(" / ".join(last) or "it printed nothing")


def status_of(port: int, path: str) -> int | None:
    """The status that GET `path` is answered with, None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, and kill what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
