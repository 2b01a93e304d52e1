"""The door: the outermost ASGI layer, before routing and before any body is read.

Here and nowhere else: the request id and the trace, below which path the service is published, whether a slot is free,
who calls, how many bytes a body may have, how long a request may take, and what happens when its client goes away; and
every error raised inside becomes its problem details here. Knows no routes but those that it never refuses.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import Access, Caller
from app.api.errors import UNEXPECTED, code, from_routing
from app.api.gate import admit, caller_of
from app.api.proxies import Proxies
from app.api.responses import SAFE, problem_response
from app.core.errors import (
    ClientTimeout,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    Overloaded,
    TooLarge,
    TwinserveError,
)
from app.core.observe import NO_TRACE, Observer, Steps, Trace, Tracer, read_trace

REQUEST_ID = "request_id"
"""The scope's key under which the layers inside find the request's id."""

STEPS = "steps"
"""The scope's key of the Steps that the layers inside fill."""

ALWAYS_OPEN = re.compile(r"(/v1)?/(health/(live|ready)|metrics|docs(/.*)?|openapi\.json)")
"""Paths that take no slot: an overloaded service still says that it lives, and how it is."""

CALLERS_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
CLIENT_GONE = 499
"""Reported to the observer, after nginx, for a client that left before its answer; nothing is sent."""
UNROUTED = "unmatched"
BODIES = 8
"""Bodies of the most bytes that a worker holds at once, in as many or more requests: slots alone allow gigabytes."""
FULL = "the service is handling as many requests as it can; try again later"

logger = logging.getLogger(__name__)


class Door:
    """Wraps the application; see the module. One object a worker, used on its event loop only."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        observer: Observer,
        max_body_bytes: int,
        request_timeout_ms: int,
        max_requests: int,
        access: Access | None = None,
        tracer: Tracer | None = None,
        root_path: str = "",
        proxies: Proxies | None = None,
    ) -> None:
        self._app = app
        self._observer = observer
        self._tracer = tracer or Tracer()
        self._max_body_bytes = max_body_bytes
        self._bodies = _Bodies(BODIES * max_body_bytes)
        self._timeout_s = request_timeout_ms / 1000
        self._free = max_requests
        self._access = access
        self._root_path, self._below_root = root_path, f"{root_path}/"
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        visit = _Visit(_request_id(headers), receive, send, self._max_body_bytes, self._bodies)
        scope[REQUEST_ID], scope[STEPS] = visit.request_id, visit.steps
        scope["path"] = self._path(scope)
        takes_slot = ALWAYS_OPEN.fullmatch(scope["path"]) is None
        if takes_slot:
            visit.trace = self._tracer.start(scope["method"], headers)
        if takes_slot:
            self._free -= 1
        try:
            await self._serve(scope, visit, headers, full=takes_slot and self._free < 0)
        finally:
            if takes_slot:
                self._free += 1
            route = getattr(scope.get("route"), "path", UNROUTED).removeprefix("/v1")
            caller = None if self._access is None else caller_of(scope)
            seconds, trace = time.perf_counter() - visit.began, visit.trace
            trace.end(route, visit.status, visit.request_id, visit.steps)
            self._report(scope, route, visit.request_id, visit.status, seconds, trace_id=trace.trace_id, caller=caller)

    def turn_away(self, scope: Scope) -> Response | None:
        """The refusal of a request that needs a slot where none is free, else None.

        For a server that can write it at once: under overload most requests end here, and a task for each would take
        from those that were let in what little there is.
        """
        if self._free > 0 or ALWAYS_OPEN.fullmatch(self._path(scope)):
            return None
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        error = Overloaded(FULL)
        self._observer.refused(code(error))
        response = problem_response(error, request_id, {"X-Request-ID": request_id})
        response.raw_headers.extend(SAFE)
        trace_id = read_trace(headers).trace_id
        self._report(scope, UNROUTED, request_id, response.status_code, 0.0, trace_id=trace_id)
        return response

    def _path(self, scope: Scope) -> str:
        """The path below the root path, whether the gateway has taken that off or not."""
        path: str = scope["path"]
        return path[len(self._root_path) :] if path.startswith(self._below_root) else path

    def _report(
        self,
        scope: Scope,
        route: str,
        request_id: str,
        status: int,
        seconds: float,
        *,
        trace_id: str | None,
        caller: Caller | None = None,
    ) -> None:
        self._observer.request(route, status, seconds)
        about = {"request_id": request_id, "route": route, "status": status, "ms": round(seconds * 1000, 3)}
        if trace_id is not None:
            about["trace_id"] = trace_id
        if caller is not None:
            about["key"] = caller.key.id
        if self._proxies is not None:
            about |= self._proxies.caller(scope)
        logger.info("request", extra=about)

    async def _serve(self, scope: Scope, visit: _Visit, headers: Headers, *, full: bool) -> None:
        try:
            if full:
                raise Overloaded(FULL)
            if self._access is not None:
                admit(self._access, scope, headers)
            visit.check_declared_size(headers.get("content-length"))
            await visit.run(self._app, scope, self._seconds(headers.get("x-request-timeout")))
        except TwinserveError as error:
            await self._refuse(scope, visit, error)
        except HTTPException as error:
            allow = (error.headers or {}).get("Allow")
            extra = {} if allow is None else {"Allow": ", ".join(sorted(allow.split(", ")))}
            await self._refuse(scope, visit, from_routing(error), extra)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except MemoryError:
            too_large = TooLarge("the request takes more memory than the service has to spare: send less at once")
            await self._refuse(scope, visit, too_large)
        except Exception:
            logger.exception(
                "a request failed", extra={"request_id": visit.request_id, "trace_id": visit.trace.trace_id}
            )
            await self._refuse(scope, visit, Internal(UNEXPECTED))

    async def _refuse(
        self, scope: Scope, visit: _Visit, error: TwinserveError, extra: Mapping[str, str] | None = None
    ) -> None:
        if visit.status == CLIENT_GONE:  # nothing was sent yet
            self._observer.refused(code(error))
            await problem_response(error, visit.request_id, extra)(scope, visit.receive, visit.send)

    def _seconds(self, asked: str | None) -> float:
        """The time this request has: X-Request-Timeout can only shorten it."""
        if asked is None:
            return self._timeout_s
        if not SECONDS.fullmatch(asked) or float(asked) == 0:
            raise InvalidRequest("X-Request-Timeout must be a positive number of seconds, such as 2.5")
        return min(float(asked), self._timeout_s)


class _Bodies:
    """The bytes of all bodies of requests under way, and how many they may be."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0


class _Visit:
    """One request on its way through: what has come in, and whether an answer has begun to go out."""

    def __init__(self, request_id: str, receive: Receive, send: Send, max_body_bytes: int, bodies: _Bodies) -> None:
        self.request_id = request_id
        self.began = time.perf_counter()
        self.steps = Steps()
        self.trace: Trace = NO_TRACE
        self.status = CLIENT_GONE
        self._receive, self._send = receive, send
        self._max_body_bytes = max_body_bytes
        self._bodies = bodies
        self._received_bytes = 0
        self._reading = False
        self._gone = False
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
        self._timer = timer = asyncio.timeout(seconds)
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
                self._reading = False
                if self._watch is None:
                    self._watch = asyncio.create_task(self._watch_for_disconnect())
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
            if self._timer is not None and not self._timer.expired():
                self._timer.reschedule(None)
        await self._send(message)

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


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id")
    if given is not None and CALLERS_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # to tell requests apart, not a secret: no system call for each
