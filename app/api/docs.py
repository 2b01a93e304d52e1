"""GET /docs and GET /openapi.json. Swagger UI is served from the installed package, so that no other host is asked.

fastapi_offline is used for the assets that it carries; importing it would load a second web framework.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from app.api.responses import dump

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
START = """\
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""
"""Swagger UI asks a public validator about every document unless validatorUrl is null."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Twinserve</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
"""Addresses are relative, so that the page works under /v1 and behind a proxy's prefix."""

POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)

Endpoint = Callable[[Request], Awaitable[Response]]


def endpoints(root_path: str = "") -> dict[str, Endpoint]:
    """Path -> endpoint. `root_path` is where the document says that the routes are."""
    folder = _assets_folder()

    @functools.cache
    def document() -> bytes:
        # Not before somebody asks: the schemas of all answers are a twentieth of what a worker does before it serves.
        from app.api.openapi import describe_api  # noqa: PLC0415

        return dump(describe_api(root_path))

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def asset(request: Request) -> Response:
        name = request.path_params["asset"]
        if name == "start.js":
            return Response(START, media_type="text/javascript")
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(folder / name, media_type=ASSETS[name])

    async def openapi(_: Request) -> Response:
        return Response(await asyncio.to_thread(document), media_type="application/json")

    return {"/docs": page, "/docs/{asset}": asset, "/openapi.json": openapi}


def _assets_folder() -> Path:
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package fastapi-offline, which carries the assets of /docs, is not installed")
    return Path(spec.origin).parent / "static"
