"""One request on its way through the door: its body counted, its deadline, whether its client is there. No routes."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.responses import SAFE
from app.core.errors import ClientTimeout, DeadlineExceeded, Overloaded, TooLarge
from app.core.observe import NO_TRACE, Steps, Trace

CLIENT_GONE = 499
"""Reported to the observer, after nginx, for a client that left before its answer; nothing is sent."""
FULL = "the service is handling as many requests as it can; try again later"


PATIENCE_S = 0.005
"""Most requests are answered before. A deadline and a watch for each of them would cost more than reading its body."""


class Bodies:
    """The bytes of all bodies of requests under way, and how many they may be."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0


class Visit:
    """One request on its way through: what has come in, and whether an answer has begun to go out."""

    def __init__(self, request_id: str, receive: Receive, send: Send, max_body_bytes: int, bodies: Bodies) -> None:
        self.request_id = request_id
        self.began = time.perf_counter()
        self.steps = Steps()
        self.trace: Trace = NO_TRACE
        self.status = CLIENT_GONE
        self._receive, self._send = receive, send
        self._max_body_bytes = max_body_bytes
        self._bodies = bodies
        self._received_bytes = 0
        self._reading = self._received_all = False
        self._gone = False
        self._takes_long = False
        self._timer: asyncio.Timeout | None = None
        self._watch: asyncio.Task[None] | None = None

    def check_declared_size(self, declared: str | None) -> None:
        """Refuse a body by its Content-Length before a byte of it is read."""
        if declared is not None and declared.isdecimal() and int(declared[:20]) > self._max_body_bytes:
            raise self._too_large()

    async def run(self, app: ASGIApp, scope: Scope, seconds: float) -> None:
        """Run the application with a deadline, which ends when its answer begins.

        Raises DeadlineExceeded, or ClientTimeout where it was the body that did not come in time; ClientDisconnect for
        a client that went away, after the application was cancelled.
        """
        loop = asyncio.get_running_loop()
        self._timer = timer = asyncio.timeout(None)
        patience = loop.call_later(min(seconds, PATIENCE_S), self._lose_patience, loop.time() + seconds)
        try:
            async with timer:
                await app(scope, self.receive, self.send)
        except TimeoutError:
            if not timer.expired():
                raise  # not ours
            if self._gone:
                raise ClientDisconnect from None
            if self._reading:
                raise ClientTimeout("the request's body did not arrive in time; send it again") from None
            raise DeadlineExceeded(f"the request was not done within {seconds:g} s; try again later") from None
        finally:
            patience.cancel()
            self._timer = None
            self._bodies.held_bytes -= self._received_bytes
            if self._watch is not None:
                self._watch.cancel()

    async def receive(self) -> Message:
        """The next part of the body. Raises TooLarge for more bytes than a body may have, Overloaded for more than all
        bodies together may.
        """
        self._reading = True
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._received_bytes += size
            self._bodies.held_bytes += size
            if self._received_bytes > self._max_body_bytes:
                raise self._too_large()
            if self._bodies.held_bytes > self._bodies.most_bytes:
                raise Overloaded(FULL)
            if not message.get("more_body", False):
                self._reading, self._received_all = False, True
                if self._takes_long:
                    self._begin_watch()
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the request's id, the time it took, its place in its trace, and what keeps it from
        caches and from being taken for a page.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = [(b"x-request-id", self.request_id.encode()), *SAFE]
            if self.steps.taken:
                added.append((b"server-timing", server_timing(self.steps, time.perf_counter() - self.began)))
            if self.trace.traceparent is not None:
                added.append((b"traceparent", self.trace.traceparent.encode()))
            message["headers"] = [*message.get("headers", ()), *added]
            if self._takes_long and self._timer is not None and not self._timer.expired():
                self._timer.reschedule(None)
        await self._send(message)

    def _lose_patience(self, ends_at: float) -> None:
        """Set the deadline, on the loop's clock, and watch whether the client stays, where no answer has begun."""
        self._takes_long = True
        if self.status == CLIENT_GONE and self._timer is not None:
            self._timer.reschedule(ends_at)
            if self._received_all:
                self._begin_watch()

    def _begin_watch(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_for_disconnect())

    async def _watch_for_disconnect(self) -> None:
        """Cancel the application once its client has gone, so that its items leave the queue."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.status == CLIENT_GONE and self._timer is not None:
            self._gone = True
            self._timer.reschedule(asyncio.get_running_loop().time())

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._max_body_bytes} bytes; send less at once")


def server_timing(steps: Steps, total_s: float) -> bytes:
    """The header Server-Timing: milliseconds of each step in order, and of all."""
    parts = [f"{name};dur={1000 * (ended - began):.3f}" for name, began, ended in steps.taken]
    return f"{', '.join(parts)}, total;dur={1000 * total_s:.3f}".encode()
