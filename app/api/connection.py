"""One client's connection: uvicorn's HTTP protocol, and what uvicorn leaves unbounded, bounded. No routes.

Bounded are the bytes of a request's head, the time a client may take to send it, and the time to read an answer.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import orjson
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.api.framing import HEAD_BYTES, TOO_LARGE, Framed
from app.api.responses import PROBLEM, SAFE
from app.api.sending import Whole

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.api.server import DealtServer

HEAD_S = 20.0
READ_S = 20.0
READ_BYTES = 16 * 1024
"""Of the answer that waits for it, a client reads at least so much in READ_S, or is cut off."""


class Connection(Framed):
    """One client's connection; calls `on_closed` exactly once."""

    def __init__(self, server: DealtServer, on_closed: Callable[[], None]) -> None:
        super().__init__(server.config, server.server_state, {})
        self._server = server
        self._on_closed: Callable[[], None] | None = on_closed
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start waiting for a first request, no longer than for any later one."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._server.idle[self] = None
        self._server.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the supervisor, so that its count stays true."""
        self._server.idle.pop(self, None)
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self.never_made()

    def drop(self) -> None:
        """Close at once: its place is needed."""
        self._server.idle.pop(self, None)
        self.transport.abort()

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
            self._refuse(*TOO_LARGE)
        elif self._head_bytes and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self._head_is_late)

    def on_headers_complete(self) -> None:
        """The head is over; what follows is the door's to bound."""
        self._in_head = False
        self._server.idle.pop(self, None)
        self._stop_head_timer()  # at once: the same data may hold the whole request, after which a new head begins
        super().on_headers_complete()
        if self._server.parting:
            self.close_after_answer()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Run the application, or write here and now that the door turns this request away."""
        refusal = self._server.door.turn_away(cast("Scope", cycle.scope), keep_alive=cycle.keep_alive)
        if refusal is None:
            super()._start_asgi_task(cycle, Whole(app, cycle))  # type: ignore[arg-type]  # uvicorn has types of its own for ASGI
            return
        self.transport.write(refusal)
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

    def on_response_complete(self) -> None:
        """Be idle from now on, unless the next request is here already."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()
        elif self.cycle.response_complete:
            self._server.idle[self] = None

    def pause_writing(self) -> None:
        """Begin to watch how fast the client reads its answer, for which there is no deadline."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """The client has read enough."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_read_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; with an answer that its client does not read it would never be closed."""
        super().timeout_keep_alive_handler()
        self._watch_reading()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request, as problem details, and close."""
        del msg  # uvicorn's own words
        self._refuse(*self.fault)

    def _head_is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "client_timeout", "the request's head did not arrive in time")

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Answer in place of the application, which sees only requests whose head could be read, and close.

        Where an answer to an earlier request of the connection is on its way, it comes first or the client gets none.
        """
        self._stop_head_timer()
        if self.takes_answer():
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

    def _watch_reading(self) -> None:
        """Cut the client off, from now on, where it does not read what waits for it."""
        if self._read_timer is None and self._on_closed is not None:
            self._read_timer = self.loop.call_later(READ_S, self._has_read, self.transport.get_write_buffer_size())

    def _has_read(self, of: int) -> None:
        self._read_timer = None
        left = self.transport.get_write_buffer_size()
        if left > max(of - READ_BYTES, 0):
            self.transport.abort()
        else:
            self._watch_reading()

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
