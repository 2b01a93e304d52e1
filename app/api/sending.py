"""How an answer leaves: one that is whole in one write, head and body together; any other as uvicorn sends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Header = tuple[bytes, bytes]

NOT_IN_HEADERS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Whole:
    """An application for one request of `cycle`: `app`, whose head is held back until the first of its body is there.

    uvicorn writes a head at once, which is a system call, and may wake the client for nothing but a head.
    """

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._head: Message | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        del send  # uvicorn's, which is the cycle's
        try:
            await self._app(scope, receive, self._send)
        finally:
            await self._let_go()  # of the head of an answer that failed before its body: uvicorn closes then

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        cycle, head = self._cycle, self._head
        if head is None or cycle.flow.write_paused or cycle.disconnected or not _is_whole(cycle, head, message):
            await self._let_go()
            await cycle.send(message)  # type: ignore[arg-type]  # starlette's messages are plain mappings
        else:
            self._head = None
            write_whole(cycle, head["status"], head["headers"], message.get("body", b""))

    async def _let_go(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            await self._cycle.send(head)  # type: ignore[arg-type]


def write_whole(cycle: RequestResponseCycle, status: int, headers: Iterable[Header], body: bytes) -> None:
    """Write an answer and end its request, as the cycle does after the last part of a body.

    Raises ValueError for a header whose value would end its line.
    """
    every = [*cycle.default_headers, *headers]
    if NOT_IN_HEADERS.search(b"".join([value for _, value in every])):
        raise ValueError("a header's value holds control characters")
    lines = [b"%b: %b\r\n" % header for header in every]
    last = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.writelines((b"".join((STATUS_LINE[status], *lines, last)), body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def _is_whole(cycle: RequestResponseCycle, head: Mapping[str, Any], message: Message) -> bool:
    """Whether this is all of the body, and its head says how long it is and nothing of the connection."""
    names = dict(head["headers"])
    return (
        not message.get("more_body", False)
        and names.get(b"content-length") == b"%d" % len(message.get("body", b""))
        and b"connection" not in names
        and b"transfer-encoding" not in names
        and cycle.scope["method"] != "HEAD"
    )
