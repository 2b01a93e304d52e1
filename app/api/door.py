"""The door: the outermost ASGI layer, before routing and before any body is read.

Here and nowhere else: the request id and the trace, below which path the service is published, whether a slot is free,
who calls, how many bytes a body may have, how long a request may take, and what happens when its client goes away; and
every error raised inside becomes its problem details here. Knows no routes but those that it never refuses.
"""

from __future__ import annotations

import logging
import math
import random
import re
import time
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import Access, Caller
from app.api.errors import KINDS, UNEXPECTED, code, from_routing
from app.api.gate import admit, caller_of
from app.api.pressure import Pressure
from app.api.proxies import Proxies
from app.api.responses import overloaded_on_the_wire, problem_response
from app.api.visit import CLIENT_GONE, FULL, Bodies, Visit
from app.core.errors import (
    Internal,
    InvalidRequest,
    Overloaded,
    TooLarge,
    TwinserveError,
)
from app.core.observe import Observer, Tracer, read_trace

REQUEST_ID = "request_id"
"""The scope's key under which the layers inside find the request's id."""

STEPS = "steps"
"""The scope's key of the Steps that the layers inside fill."""

ALWAYS_OPEN = re.compile(r"(/v1)?/(health/(live|ready)|metrics|docs(/.*)?|openapi\.json)")
"""Paths that take no slot: an overloaded service still says that it lives, and how it is."""

CALLERS_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
UNROUTED = "unmatched"
BODIES = 8
"""Bodies of the most bytes that a worker holds at once, in as many or more requests: slots alone allow gigabytes."""

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
        self._bodies = Bodies(BODIES * max_body_bytes)
        self._timeout_s = request_timeout_ms / 1000
        self._free = max_requests
        self._pressure = Pressure()
        self._access = access
        self._root_path, self._below_root = root_path, f"{root_path}/"
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _by_name(scope)
        visit = Visit(_request_id(headers), receive, send, self._max_body_bytes, self._bodies)
        scope[REQUEST_ID], scope[STEPS] = visit.request_id, visit.steps
        scope["path"] = self._path(scope)
        takes_slot = ALWAYS_OPEN.fullmatch(scope["path"]) is None
        wait_s = self._wait_s(scope) if takes_slot else None
        if takes_slot:
            visit.trace = self._tracer.start(scope["method"], headers)
            self._free -= 1
        try:
            await self._serve(scope, visit, headers, wait_s)
        finally:
            if takes_slot:
                self._free += 1
            route = getattr(scope.get("route"), "path", UNROUTED).removeprefix("/v1")
            caller = None if self._access is None else caller_of(scope)
            seconds, trace = time.perf_counter() - visit.began, visit.trace
            trace.end(route, visit.status, visit.request_id, visit.steps)
            self._report(scope, route, visit.request_id, visit.status, seconds, trace_id=trace.trace_id, caller=caller)

    def turn_away(self, scope: Scope, *, keep_alive: bool) -> bytes | None:
        """The refusal of a request that is not to be let in, as it is to be written, else None.

        For a server that can write it at once: under overload most requests end here, and a task for each would take
        from those that were let in what little there is.
        """
        wait_s = self._wait_s(scope)
        if wait_s is None or ALWAYS_OPEN.fullmatch(self._path(scope)):
            return None
        headers = _by_name(scope)
        request_id = _request_id(headers).encode()
        retry_after_s = max(1, math.ceil(wait_s))
        pieces = overloaded_on_the_wire(FULL, retry_after_s, id_bytes=len(request_id), keep_alive=keep_alive)
        self._observer.refused(Overloaded.code)
        trace_id = read_trace(headers).trace_id
        self._report(scope, UNROUTED, request_id.decode(), KINDS[Overloaded].status, 0.0, trace_id=trace_id)
        return request_id.join(pieces)

    def _wait_s(self, scope: Scope) -> float | None:
        """How long a request had better wait that is not to be let in now, 0 for a moment; None for one that is."""
        wait_s = self._pressure.wait_s() if scope["method"] == "POST" else None  # nothing else waits in a queue
        return 0.0 if wait_s is None and self._free <= 0 else wait_s

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

    async def _serve(self, scope: Scope, visit: Visit, headers: Mapping[str, str], wait_s: float | None) -> None:
        try:
            if wait_s is not None:
                raise Overloaded(FULL, retry_after_s=wait_s)
            if self._access is not None:
                admit(self._access, scope, headers)
            visit.check_declared_size(headers.get("content-length"))
            await visit.run(self._app, scope, self._seconds(headers.get("x-request-timeout")))
        except TwinserveError as error:
            if isinstance(error, Overloaded) and error.still_full is not None:
                self._pressure.felt(error.still_full)
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
        self, scope: Scope, visit: Visit, error: TwinserveError, extra: Mapping[str, str] | None = None
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


def _by_name(scope: Scope) -> dict[str, str]:
    """The headers by name, in lower case; of several of one name the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id")
    if given is not None and CALLERS_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # to tell requests apart, not a secret: no system call for each
