"""The HTTP edge: an ASGI application over the use cases. No inference and no decisions about evidence.

door.py is the outermost layer, routes.py the routes, bodies.py and multipart.py read requests, schemas.py checks them,
responses.py and answers.py write and describe answers, errors.py holds the one table of statuses.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Router
from starlette.types import ASGIApp

from app.api.door import Door
from app.api.routes import Endpoints, Metrics, make_routes
from app.core.observe import Observer, Readiness
from app.service import Service


def build(
    service: Service,
    *,
    readiness: Callable[[], Readiness],
    metrics: Metrics | None,
    observer: Observer,
    max_body_bytes: int,
    max_items: int,
    request_timeout_ms: int,
    max_requests: int,
) -> ASGIApp:
    """The ASGI application of one worker.

    `metrics` gives the body and media type of GET /metrics; None leaves the route out. `max_requests` counts those
    under way at once; `max_items` those of one request, of which a pair has two.
    """
    routes = make_routes(Endpoints(service, readiness, observer, max_items), metrics)
    return Door(
        Router(routes, redirect_slashes=False),
        observer=observer,
        max_body_bytes=max_body_bytes,
        request_timeout_ms=request_timeout_ms,
        max_requests=max_requests,
    )
