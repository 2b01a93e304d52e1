"""The bound's work behind a bare ASGI function on uvicorn: what is left when a service does nothing but HTTP.

`python -m benchmarks.peers.bare BUNDLE PORT PROCESSES`. It checks nothing, judges nothing, counts nothing and logs
nothing, and runs each request by itself, as it comes. No service on uvicorn can cost less, but for what batches save.
"""

from __future__ import annotations

import multiprocessing
import socket
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import orjson
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.bound import Work

ITEMS = 2


def create_app(work: Work) -> ASGIApp:
    """Scores of POST bodies as /compare takes them; an empty answer to anything without a body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body, answer = b"".join(parts), b"{}"
        if body:
            [[score]] = work.answer([body], ITEMS, trim=False)
            answer = orjson.dumps({"score": score}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def serve(folder: Path, port: int, all_loaded: Barrier) -> None:
    """Be one of the processes; none listens before all could, or the first would get every connection."""
    app = create_app(Work(folder, 1))
    config = uvicorn.Config(app, http="httptools", lifespan="off", ws="none", access_log=False, log_level="error")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        all_loaded.wait()
        uvicorn.Server(config).run(sockets=[listener])


def main(folder: Path, port: int, processes: int) -> None:
    """Serve on `processes` processes, this one among them."""
    context = multiprocessing.get_context("spawn")
    all_loaded = context.Barrier(processes)
    for _ in range(processes - 1):
        context.Process(target=serve, args=(folder, port, all_loaded), daemon=True).start()
    serve(folder, port, all_loaded)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
