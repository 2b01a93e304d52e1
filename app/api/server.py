"""The HTTP server of a worker: uvicorn, fed with connections that the supervisor has accepted and deals. No routes.

What uvicorn leaves unbounded is bounded here: the bytes of a request's head, and the time a client may take to send it.
"""

from __future__ import annotations

import asyncio
import math
import socket
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.door import Door
from app.api.responses import PROBLEM, SAFE

HEAD_BYTES = 64 * 1024
HEAD_S = 20.0
TAKE_AT_ONCE = 64
LAST_REQUESTS_S = 0.05
"""How long a drain waits for requests that their clients sent before they could know of it."""


class Connection(HttpToolsProtocol):
    """One client's connection; calls `on_closed` exactly once."""

    def __init__(self, server: DealtServer, on_closed: Callable[[], None]) -> None:
        super().__init__(server.config, server.server_state, {})
        self._server = server
        self._on_closed: Callable[[], None] | None = on_closed
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start waiting for a first request, no longer than for any later one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the supervisor, so that its count stays true."""
        self._stop_head_timer()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.never_made()

    def never_made(self) -> None:
        """Count this connection as closed, once."""
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed()

    def data_received(self, data: bytes) -> None:
        """Parse; a head that grows too large or takes too long ends the connection."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_bytes > HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", "the request's head is too large")
        elif self._head_bytes and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def on_headers_complete(self) -> None:
        """The head is over; what follows is the door's to bound."""
        self._in_head = False
        self._stop_head_timer()  # at once: the same data may hold the whole request, after which a new head begins
        super().on_headers_complete()
        if self._server.should_exit:
            self.close_after_answer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Run the application, or write here and now that the door turns this request away."""
        refusal = self._server.door.turn_away(dict(cycle.scope))
        if refusal is None:
            super()._start_asgi_task(cycle, app)
            return
        head = [f"HTTP/1.1 {refusal.status_code} {HTTPStatus(refusal.status_code).phrase}\r\n".encode()]
        head += [b"%b: %b\r\n" % header for header in refusal.raw_headers]
        head += [b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"]
        self.transport.write(b"".join([*head, refusal.body]))
        cycle.response_started = cycle.response_complete = True  # what is left of its body is dropped
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def close_after_answer(self) -> None:
        """Say `connection: close` with the answer under way, if there is one and it has not begun."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The next bytes are another head."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            # it was answered before its body came, which stopped the timer
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, as problem details, and close."""
        del msg  # uvicorn's own words
        self._refuse(HTTPStatus.BAD_REQUEST, "invalid_request", "this is not a valid HTTP/1.1 request")

    def _head_is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "client_timeout", "the request's head did not arrive in time")

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer in place of the application, which sees only requests whose head could be read, and close.

        Where an answer to an earlier request of the connection is on its way, it comes first or the client gets none.
        """
        self._stop_head_timer()
        if self.cycle is None or self.cycle.response_complete:
            request_id = uuid.uuid4().hex
            body = orjson.dumps(
                {
                    "type": f"urn:twinserve:error:{code}",
                    "title": status.phrase,
                    "status": status.value,
                    "detail": detail,
                    "code": code,
                    "retryable": status is HTTPStatus.REQUEST_TIMEOUT,
                    "request_id": request_id,
                }
            )
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}",
                f"content-type: {PROBLEM}",
                f"content-length: {len(body)}",
                f"x-request-id: {request_id}",
                *(f"{name.decode()}: {value.decode()}" for name, value in SAFE),
                "connection: close",
            )
            self.transport.write("\r\n".join((*head, "", "")).encode() + body)
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class DealtServer(uvicorn.Server):
    """Serves what is behind `door` on connections received over the socket `deals`, one descriptor a message.

    `on_closed` is called once for each connection that was dealt, when it is closed. `on_up` is called when
    connections can be dealt. `stop` drains; `serve_dealt` returns once that is done.
    """

    def __init__(
        self,
        door: Door,
        deals: socket.socket,
        *,
        keep_alive_s: int,
        drain_ms: int,
        on_up: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        config = uvicorn.Config(
            door,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=math.ceil(drain_ms / 1000),
        )
        super().__init__(config)
        self.door = door
        self._deals = deals
        self._deals.setblocking(False)
        self._on_up = on_up
        self._on_closed = on_closed
        self._joining: set[asyncio.Task[None]] = set()

    async def serve_dealt(self) -> None:
        """Serve until `stop`. Signals are the worker's business, not the server's."""
        await self._serve(None)

    def stop(self) -> None:
        """Finish the requests under way, no longer than the drain time, and end."""
        self.should_exit = True
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.close_after_answer()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from the supervisor instead of listening."""
        del sockets  # uvicorn's own way of being fed: listening sockets
        await self.lifespan.startup()
        self.servers = []
        asyncio.get_running_loop().add_reader(self._deals.fileno(), self._take)
        self.started = True
        self._on_up()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what was dealt before the drain, give its requests a moment to arrive, then close as uvicorn does."""
        while self._take():
            pass
        asyncio.get_running_loop().remove_reader(self._deals.fileno())
        self._deals.close()
        await asyncio.sleep(LAST_REQUESTS_S)
        await super().shutdown(sockets)

    def _take(self) -> bool:
        """Take connections from the deal socket; whether there may be more."""
        for _ in range(TAKE_AT_ONCE):
            try:
                message, descriptors, _, _ = socket.recv_fds(self._deals, 1, 1)
            except (BlockingIOError, InterruptedError):
                return False
            if not message:  # the supervisor is gone; its control channel says so too
                asyncio.get_running_loop().remove_reader(self._deals.fileno())
                return False
            if not descriptors:  # out of descriptors: the kernel has dropped this connection
                self._on_closed()
            for descriptor in descriptors:
                task = asyncio.get_running_loop().create_task(self._join(socket.socket(fileno=descriptor)))
                self._joining.add(task)
                task.add_done_callback(self._joining.discard)
        return True

    async def _join(self, connected: socket.socket) -> None:
        """Speak HTTP on a connection from now on."""
        connected.setblocking(False)
        connection = Connection(self, self._on_closed)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, connected)
        except OSError:  # its client left on the way here
            connected.close()
            connection.never_made()
