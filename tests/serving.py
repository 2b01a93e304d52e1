"""Real models behind the real application, in one process, for the tests of the edge and of the use cases."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from app.api import build
from app.core.bundle import Bundle
from app.core.errors import BundleRefused, TwinserveError
from app.core.modalities.base import Limits
from app.core.observe import ModelState, NullObserver, Observer, Readiness
from app.runtime.batcher import Batcher
from app.runtime.engine import Encoded, Work
from app.runtime.queue import Deferred
from app.runtime.registry import Model, Registry, load_model
from app.service import Fetch, Service
from app.service import Recorder as DecisionRecorder
from tests.tiny import tiny_png

LIMITS = Limits(max_body_bytes=1 << 20, max_pixels=1_000_000)
EXECUTOR = ThreadPoolExecutor(2, "tests")


def today() -> date:
    """The real date, in UTC."""
    return datetime.now(tz=UTC).date()


def load_models(
    bundles: Sequence[Bundle], *, default: str | None, aliases: Mapping[str, str], **settings: Any
) -> tuple[Registry, dict[str, str]]:
    """A registry of those that can be served, and for the others key -> reason."""
    models: list[Model] = []
    refused: dict[str, str] = {}
    for bundle in bundles:
        try:
            models.append(load_model(bundle, **settings))
        except BundleRefused as error:
            refused[bundle.key] = error.detail
    return Registry(models, default=default, aliases=aliases), refused


def load(*bundles: Bundle, default: str | None = None, observer: Observer | None = None) -> Registry:
    """A registry of real encoders."""
    registry, refused = load_models(
        bundles,
        default=default,
        aliases={},
        limits=LIMITS,
        device="cpu",
        threads=1,
        batch_ms=50,
        queue_items=64,
        queue_ms=5000,
        observer=observer or NullObserver(),
        executor=EXECUTOR,
    )
    assert refused == {}
    return registry


def make_app(
    models: Registry | Callable[[], Registry],
    *,
    executor: Executor = EXECUTOR,
    fetch: Fetch | None = None,
    **changes: Any,
) -> ASGIApp:
    """The application as main builds it; `changes` replace arguments of `build`."""
    observer = changes.get("observer") or NullObserver()
    source = (lambda: models) if isinstance(models, Registry) else models
    arguments: dict[str, Any] = {
        "readiness": lambda: Readiness(True, {"tiny@1.0.0": ModelState(True)}),
        "metrics": lambda: (b"up 1\n", "text/plain; version=0.0.4; charset=utf-8"),
        "observer": observer,
        "recorder": DecisionRecorder(observer, lambda: datetime.now(UTC)),
        "max_body_bytes": LIMITS.max_body_bytes,
        "max_items": 32,
        "request_timeout_ms": 20_000,
        "max_requests": 32,
    }
    return build(Service(source, observer, executor, today, fetch=fetch), **(arguments | changes))


@asynccontextmanager
async def client_of(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, without a network. Unexpected exceptions reach the test."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://twinserve") as client:
        yield client


@contextmanager
def serve(app: ASGIApp) -> Iterator[int]:
    """Serve on a free port of the loopback, which is yielded."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def b64(data: bytes) -> str:
    """RFC 4648, section 4."""
    return base64.b64encode(data).decode()


def picture(identity: int, variant: int = 0) -> dict[str, str]:
    """A picture of a tiny identity as an item."""
    return {"base64": b64(tiny_png(identity, variant))}


def problem(response: httpx.Response, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    """Check that a response is this problem, complete and fit to be read, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    check_problem(body, status, code, pointer)
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def check_problem(body: dict[str, Any], status: int, code: str, pointer: str | None = None) -> None:
    """Check the members of problem details."""
    assert (body["status"], body["code"], body.get("pointer")) == (status, code, pointer), body
    assert body["type"] == f"urn:twinserve:error:{code}"
    assert set(body) - {"pointer"} == {"type", "title", "status", "detail", "code", "retryable", "request_id"}
    assert " " in body["detail"]
    assert "Traceback" not in body["detail"]
    assert "/app/" not in body["detail"]


def altered(model: Model, **changes: Any) -> Registry:
    """The model with a queue of its own, and an engine with another bundle, encoder or observer."""
    engine = replace(model.engine, **changes)
    batcher = Batcher[Work, Encoded](engine.run, cap=64, queue_items=64, queue_ms=5000, executor=EXECUTOR)
    return Registry([Model(engine, batcher, model.limits)], default=None, aliases={})


@dataclass
class Gate:
    """A model whose batches wait until the gate opens; what ran is counted."""

    opened: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    ran: list[int] = field(default_factory=list)

    def registry(
        self, model: Model, *, queue_items: int = 64, cap: int = 1, observer: Observer | None = None
    ) -> Registry:
        """The model behind this gate."""
        engine = model.engine if observer is None else replace(model.engine, observer=observer)

        def run(items: Sequence[Work]) -> Sequence[Encoded | TwinserveError | Deferred[Work]]:
            self.started.set()
            assert self.opened.wait(20)
            self.ran.append(len(items))
            return engine.run(items)

        batcher = Batcher[Work, Encoded](run, cap=cap, queue_items=queue_items, queue_ms=60_000, executor=EXECUTOR)
        return Registry([Model(engine, batcher, model.limits)], default=None, aliases={})

    async def wait_started(self) -> None:
        """Until a batch is at the gate."""
        await asyncio.to_thread(self.started.wait, 20)


class Recorder(NullObserver):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.codes: list[str] = []
        self.verdicts: list[tuple[str, str, str]] = []
        self.prepared_items = 0

    def request(self, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((route, status))

    def refused(self, code: str) -> None:
        self.codes.append(code)

    def prepared(self, model: str, seconds: float) -> None:
        assert model
        assert seconds >= 0
        self.prepared_items += 1

    def verdict(self, model: str, operating_point: str, verdict: str) -> None:
        self.verdicts.append((model, operating_point, verdict))
