"""What goes wrong in the chaos test. A fault is done to a running service, and undone where it does not pass itself."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.supervisor.live import LiveService, wait_for

JUMPING_CLOCK = """
import random, time
real = time.time
time.time = lambda: real() + random.choice((-86400.0, 0.0, 3600.0, 86400.0))
time.time_ns = lambda: int(time.time() * 1e9)
"""
"""Run first in every process of the service: the wall clock, as Python tells it, is set at every look."""


HEAD_OF_A_BODY = b"POST /compare HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True)
class Scene:
    """A running service of two workers, the folder of its models, and the small disk that it writes to, if any."""

    service: LiveService
    models: Path
    disk: Path | None

    def a_worker(self) -> int:
        """The process id of the worker that most callers are connected to."""
        held = self.service.connections_by_worker()
        return max(held, key=held.__getitem__)

    def wait_healed(self) -> None:
        """Until both workers are ready."""
        wait_for("two workers", lambda: len(self.service.worker_pids()) == 2)
        self.service.wait_ready(2)


def signalled(number: signal.Signals) -> Callable[[Scene], None]:
    """A worker gets a signal from nowhere."""

    def fault(scene: Scene) -> None:
        victim = scene.a_worker()
        os.kill(victim, number)
        wait_for("end of the victim", lambda: victim not in scene.service.worker_pids())

    fault.__name__ = f"worker_gets_{number.name}"
    return fault


def every_worker_dies(scene: Scene) -> None:
    """Nobody is left for a moment."""
    for pid in scene.service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_for("word of it", lambda: scene.service.said("not ready"))


def memory_is_short(scene: Scene) -> None:
    """The workers get no more memory than they have, for a while, and are asked for what needs more."""
    workers = scene.service.worker_pids()
    _, most = resource.prlimit(workers[0], resource.RLIMIT_DATA)
    for pid in workers:
        used = re.search(r"^VmData:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert used is not None
        resource.prlimit(pid, resource.RLIMIT_DATA, (int(used[1]) * 1024, most))
    ask_for_much(scene.service.port)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):  # it has died of it
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def ask_for_much(port: int) -> None:
    """Send bodies of twenty megabytes, whatever is said to them; both workers get some."""
    body = b"{" + b" " * (20 << 20) + b"}"
    for _ in range(4):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(HEAD_OF_A_BODY % len(body))
            client.sendall(body)
            client.recv(1000)


def disk_is_full(scene: Scene) -> None:
    """Not a byte is left where the service writes, while a worker is replaced."""
    if scene.disk is None:
        return
    filler = scene.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    signalled(signal.SIGKILL)(scene)
    scene.wait_healed()
    filler.unlink()


def bundle_is_damaged_and_deleted(scene: Scene) -> None:
    """What was read at the start is all that any worker needs, the next ones too."""
    saved = scene.models.with_name("saved")
    shutil.copytree(scene.models, saved)
    for file in scene.models.rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    signalled(signal.SIGKILL)(scene)
    shutil.rmtree(scene.models)
    signalled(signal.SIGKILL)(scene)
    scene.wait_healed()
    saved.rename(scene.models)


def clients_leave_half_way(scene: Scene) -> None:
    """Half-closed and reset connections, before, within and after a request."""
    asked = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    parts = (b"", asked[:20], asked, HEAD_OF_A_BODY % 100 + b"{")
    for number in range(200):
        with socket.create_connection(("127.0.0.1", scene.service.port), timeout=30) as client:
            client.sendall(parts[number % len(parts)])
            if number % 8 < 4:
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):  # the service closes its half
                    pass


FAULTS: tuple[Callable[[Scene], None], ...] = (
    signalled(signal.SIGKILL),  # as the kernel does when memory runs out
    signalled(signal.SIGSEGV),  # a crash in native code
    signalled(signal.SIGBUS),
    signalled(signal.SIGSTOP),  # a hang, which the watchdog ends
    signalled(signal.SIGTERM),
    memory_is_short,
    disk_is_full,
    bundle_is_damaged_and_deleted,
    clients_leave_half_way,
    every_worker_dies,
)


class Dribble(threading.Thread):
    """A client that sends a byte a second until it is answered or cut off; `answer` is what it got."""

    def __init__(self, port: int, first: bytes, rest: bytes) -> None:
        super().__init__(daemon=True)
        self.answer = b""
        self._port, self._first, self._rest = port, first, rest
        self.start()

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=1) as client, contextlib.suppress(OSError):
            client.sendall(self._first)
            for number in range(120):
                client.sendall(self._rest[number : number + 1])
                with contextlib.suppress(TimeoutError):
                    while part := client.recv(4000):
                        self.answer += part
                    return
                if self.answer:
                    return
