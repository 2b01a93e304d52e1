"""HTTP/1.1 over raw sockets, as little of it as a load needs: keep-alive, one request at a time, a declared length.

A request costs some tens of microseconds, so that on a small machine the load takes little from what it measures.
"""

from __future__ import annotations

import re
import select
import socket
from dataclasses import dataclass

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nretry-after: *([^\r\n]+)", re.IGNORECASE)
CHUNK = 1 << 18
LOST = 0
"""Status of a request whose connection ended before its answer."""


class ProtocolError(Exception):
    """The server answers in a way that this client does not read."""


def post(path: str, body: bytes) -> bytes:
    """The bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the body, and Retry-After as sent, if any."""

    status: int
    body: bytes = b""
    retry_after: bytes | None = None


class Connection:
    """One keep-alive connection, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._out = memoryview(b"")
        self._in = bytearray()

    def send(self, request: bytes) -> bool:
        """Begin a request; True once all of it is out."""
        self._out = memoryview(request)
        return self.flush()

    def flush(self) -> bool:
        """Write what is left of the request; True once all of it is out. A dead connection shows when it is read."""
        try:
            while self._out:
                self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            return False
        except OSError:
            self._out = memoryview(b"")
        return True

    def read(self) -> Answer | None:
        """The answer, if all of it is there now; one with status LOST where the server has gone."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return Answer(LOST)
        self._in += data
        end = self._in.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._in[: end + 2])
        length = LENGTH.search(head)
        if length is None:
            raise ProtocolError("an answer without Content-Length")
        last = end + 4 + int(length[1])
        if len(self._in) < last:
            return None
        body = bytes(self._in[end + 4 : last])
        del self._in[:last]
        retry_after = RETRY_AFTER.search(head)
        return Answer(int(head[9:12]), body, retry_after[1] if retry_after else None)


class Wire:
    """The connections of one load to one port. Use as a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()

    def __len__(self) -> int:
        return len(self._connections)

    def open(self) -> Connection:
        """One more connection."""
        connection = Connection(self._port)
        self._connections[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def drop(self, connection: Connection) -> None:
        """Close a connection."""
        del self._connections[connection.socket.fileno()]
        connection.socket.close()

    def send(self, connection: Connection, request: bytes) -> None:
        """Send a request; what the socket does not take now goes out while waiting."""
        if not connection.send(request):
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def wait(self, seconds: float) -> list[tuple[Connection, Answer]]:
        """What was answered or lost, after at most `seconds`. A lost connection is still to be dropped."""
        # epoll waits whole milliseconds, select microseconds: an open loop sends several requests a millisecond
        select.select([self._poll], [], [], max(0.0, seconds))
        answered = []
        for descriptor, event in self._poll.poll(0):
            connection = self._connections[descriptor]
            if event & select.EPOLLOUT and connection.flush():
                self._poll.modify(connection.socket, select.EPOLLIN)
            if event & ~select.EPOLLOUT and (answer := connection.read()) is not None:
                answered.append((connection, answer))
        return answered
