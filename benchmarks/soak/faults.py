"""What goes wrong during a soak, one after another, from outside the service: its workers, its clients, its signals."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.processes import tree
from benchmarks.wire import post

IDLE = 200
DRIP_S = 3.0
KILLED = "a worker killed"
HUNG = "a worker stopped, which the watchdog replaces"
HEAD = b"POST /compare HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


class Faults:
    """Makes one fault every `every_s`, in a thread, from entering to leaving. `made` counts them by name."""

    def __init__(self, pid: int, port: int, every_s: float) -> None:
        self._pid, self._port, self._every_s = pid, port, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.made: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        faults: dict[str, Callable[[], None]] = {
            "a client that sends a byte at a time": self._drip,
            KILLED: self._kill,
            "a client that leaves before its answer": self._abandon,
            "models read again": self._reload,
            f"{IDLE} idle connections": self._idle,
            HUNG: self._hang,
            "a client that closes its sending side": self._half_close,
        }
        for name in itertools.cycle(faults):
            if self._over.wait(self._every_s):
                return
            with contextlib.suppress(OSError):  # the service may refuse such clients, and a worker may be gone
                faults[name]()
            self.made[name] += 1

    def _kill(self) -> None:
        os.kill(random.choice(workers(self._pid)), signal.SIGKILL)

    def _hang(self) -> None:
        os.kill(random.choice(workers(self._pid)), signal.SIGSTOP)

    def _reload(self) -> None:
        os.kill(self._pid, signal.SIGHUP)

    def _drip(self) -> None:
        with self._connect() as client:
            end = time.monotonic() + DRIP_S
            for place in itertools.count():
                if time.monotonic() > end or self._over.is_set():
                    return
                client.sendall(HEAD[place : place + 1] or b" ")
                time.sleep(0.1)

    def _abandon(self) -> None:
        with self._connect() as client:
            client.sendall(HEAD + b" " * 1000)

    def _idle(self) -> None:
        with contextlib.ExitStack() as clients:
            for _ in range(IDLE):
                clients.enter_context(self._connect())
            self._over.wait(1.0)

    def _half_close(self) -> None:
        with self._connect() as client:
            client.sendall(post("/embed", b"{}"))
            client.shutdown(socket.SHUT_WR)
            client.recv(1 << 16)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=10)


def workers(pid: int) -> list[int]:
    """The worker processes of a service."""
    return [child for child in tree(pid) if child != pid and b"spawn_main" in _command(child)]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
