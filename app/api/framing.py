"""How requests lie on a connection: uvicorn's HTTP protocol, without what a stranger could do with it. No answers.

Refused are heads that another server on the way could read otherwise (RFC 9112: more than one Host, codings that would
be passed over, versions that are none of ours), and framing that is more than what it carries: chunk extensions and
trailers without end. Nobody's body is read for long once it has been answered.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256
LINGER_S = 5.0
"""How long the rest of a body is read and dropped after its answer. To close at once could cost a client that still
sends the answer, and most are done in that time; the others would send for ever."""

NEAR = 2048
UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)

Fault = tuple[HTTPStatus, str, str]
"""Status, code and detail."""

NO_HTTP: Fault = (HTTPStatus.BAD_REQUEST, "invalid_request", "this is not a valid HTTP/1.1 request")
TOO_LARGE: Fault = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", "the request's head is too large")
FRAMING: Fault = (HTTPStatus.BAD_REQUEST, "invalid_request", "the request has far more framing than body")
ONLY_HTTP: Fault = (
    HTTPStatus.BAD_REQUEST,
    "invalid_request",
    "no other protocol is spoken here: send no Upgrade header",
)


class FramingError(Exception):
    """Raised through the parser, which then calls send_400_response."""


class Framed(HttpToolsProtocol):
    """`fault` is what send_400_response is to say."""

    fault: Fault = NO_HTTP

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # uvicorn's own
        self._spare_bytes = HEAD_BYTES  # of anything but body that the request under way may still have
        self._at_head = True
        self._linger_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for the rest of a body."""
        self._stop_lingering()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and bound what is no body: at most HEAD_BYTES and as much again as there is body."""
        self._spare_bytes -= len(data)
        if self._at_head and data.find(b"pgrade", 0, NEAR) >= 0:
            data = _without_upgrade(data)
        super().data_received(data)
        if (
            self._spare_bytes < 0
            and self.cycle is not None
            and self.cycle.more_body
            and not self.transport.is_closing()
        ):
            self.fault = FRAMING
            self.send_400_response("")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._spare_bytes += 2 * len(body)
        super().on_body(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, of which there may be so many; what stands behind a body (a trailer) is none."""
        if not self._at_head:
            return
        if len(self.headers) >= MAX_HEADERS:
            self.fault = TOO_LARGE
            raise FramingError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Look whether the head has one meaning only."""
        version = self.parser.get_http_version()
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and version == "1.1") or version not in ("1.1", "1.0"):
            raise FramingError
        if b"transfer-encoding" in names:
            codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
            if codings != [b"chunked"] or version != "1.1":
                raise FramingError
        if self._spare_bytes < 0 and sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self.fault = TOO_LARGE
            raise FramingError
        if self.parser.should_upgrade():  # it was not seen by data_received, and the parser would lose what follows
            self.fault = ONLY_HTTP
            raise FramingError
        self._at_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are another request."""
        self._at_head = True
        self._spare_bytes = HEAD_BYTES
        self._stop_lingering()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close soon where the body of what has been answered is still on its way."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def takes_answer(self) -> bool:
        """Whether an answer to the bytes that came last may be written here and now; no other is then written.

        Not where one to an earlier request is on its way: it comes first.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        if self.pipeline or cycle.response_started or not cycle.more_body:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None


def _without_upgrade(data: bytes) -> bytes:
    """A head in which nothing is offered that we do not speak, as RFC 9110 lets a server do; all else as it is.

    The parser takes what follows a head with an Upgrade for that protocol: the body of a POST would be lost, or taken
    for a request of its own. Some clients offer HTTP/2 so with each first request.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(b"\r\nx-not-spoken:", head) + end + rest
