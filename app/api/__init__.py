"""The HTTP edge: an ASGI application over the use cases. No inference and no decisions about evidence.

door.py is the outermost layer, pressure.py says when it turns requests away for a queue, proxies.py whom it believes
about a caller, gate.py what a key allows, routes.py holds the routes, bodies.py and multipart.py read requests,
schemas.py checks them, responses.py and answers.py write and describe answers, sending.py puts them on the wire,
errors.py holds the one table of statuses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__
from app.access import Access
from app.api.door import Door
from app.api.proxies import Proxies
from app.api.routes import Endpoints, Metrics, make_routes
from app.core.observe import Observer, Readiness, Tracer
from app.service import Recorder, Service


def build(
    service: Service,
    *,
    readiness: Callable[[], Readiness],
    metrics: Metrics | None,
    observer: Observer,
    recorder: Recorder,
    max_body_bytes: int,
    max_items: int,
    request_timeout_ms: int,
    max_requests: int,
    access: Access | None = None,
    tracer: Tracer | None = None,
    root_path: str = "",
    proxies: Proxies | None = None,
) -> Door:
    """The ASGI application of one worker.

    `metrics` gives the body and media type of GET /metrics; None leaves the route out. `max_requests` counts those
    under way at once; `max_items` those of one request, of which a pair has two. No keys are asked for without
    `access`. Below `root_path`, such as "/similarity", a gateway publishes the service; `proxies` are those believed,
    None for none.
    """
    endpoints = Endpoints(service, readiness, observer, max_items, recorder)
    routes = make_routes(endpoints, metrics, keys=access is not None, root_path=root_path)
    return Door(
        _Application(routes, root_path),
        observer=observer,
        max_body_bytes=max_body_bytes,
        request_timeout_ms=request_timeout_ms,
        max_requests=max_requests,
        access=access,
        tracer=tracer,
        root_path=root_path,
        proxies=proxies,
    )


class _Application(FastAPI):
    """FastAPI's application around routes that read and write bodies themselves.

    Its own validation and serialisation would parse duplicate keys without a word and turn embeddings into Python
    lists; docs/decisions/0003 says more.
    """

    def __init__(self, routes: list[Any], published_below: str) -> None:
        super().__init__(
            title="Twinserve",
            version=__version__,
            routes=routes,
            redirect_slashes=False,
            openapi_url=None,  # served by our own route, like the page that shows it
            docs_url=None,
            redoc_url=None,
        )
        self._published_below = published_below
        self._posts = {route.path: route for route in routes if "POST" in route.methods}
        """Paths without parameters: found at once, where the router would try one route after another."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to a known path by the shortest way; leave everything else to the router."""
        route = self._posts.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None or scope.get("root_path"):
            await super().__call__(scope, receive, send)
            return
        scope["route"] = route
        response = await route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Nothing between the door and the routes: the door alone answers errors, in one form."""
        return self.router

    def openapi(self) -> dict[str, Any]:
        """The document that GET /openapi.json serves."""
        from app.api.openapi import describe_api  # noqa: PLC0415  (see docs.py)

        return describe_api(self._published_below)
