"""A real HTTP server on a real port whose answers follow a script, for the tests of the load."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer: a status, a body and headers, after a wait. Status 0 closes the connection instead."""

    status: int = 200
    body: bytes = b"{}"
    wait_s: float = 0.0
    headers: str = ""


@dataclass
class ScriptedServer:
    """Answers the n-th request that it gets, counted over all connections, with `script(n)`. Keeps every body."""

    script: Callable[[int], Reply]
    listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def port(self) -> int:
        return int(self.listening.getsockname()[1])

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while line := stream.readline():
                length = 0
                while (header := stream.readline()) != b"\r\n":
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                assert line.startswith(b"POST ")
                body = stream.read(length)
                with self.lock:
                    reply = self.script(len(self.bodies))
                    self.bodies.append(body)
                time.sleep(reply.wait_s)
                if reply.status == 0:
                    return
                head = f"HTTP/1.1 {reply.status} X\r\n{reply.headers}Content-Length: {len(reply.body)}\r\n\r\n"
                connection.sendall(head.encode() + reply.body)


@contextlib.contextmanager
def scripted(script: Callable[[int], Reply]) -> Iterator[ScriptedServer]:
    """Serve until the end of the block."""
    server = ScriptedServer(script)
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listening.shutdown(socket.SHUT_RDWR)
        server.listening.close()
        thread.join(20)
