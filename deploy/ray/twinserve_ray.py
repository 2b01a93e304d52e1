"""Twinserve under Ray Serve: each replica is one worker's parts, and the same ASGI application that a worker serves.

Ray in the supervisor's place: it starts replicas, restarts them, spreads connections and adds or takes away replicas.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor

from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access import Access, parse_keys
from app.core.errors import BundleRefused
from app.core.observe import ModelState, Readiness
from app.main import (
    CPU_BATCHES,
    CUDA_BATCHES,
    PREPARE_THREADS,
    create_app,
    make_fetcher,
    make_loader,
    make_recorder,
    today,
)
from app.runtime.registry import Registry
from app.service import Service, Shadowing
from app.settings import Settings
from app.supervisor.catalogue import read_catalogue
from app.supervisor.keys import read_keys
from app.supervisor.signatures import signature_check
from app.telemetry import Telemetry, log_to_stderr, tracer_of


@serve.deployment(
    name="twinserve",
    # One inference at a time on one thread, so one CPU; queued requests are what says that more replicas are needed.
    ray_actor_options={"num_cpus": 1},
    max_ongoing_requests=256,  # TWINSERVE_MAX_REQUESTS: beyond it, the service itself says 429
    autoscaling_config={"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 8},
    graceful_shutdown_timeout_s=30,  # longer than TWINSERVE_REQUEST_TIMEOUT_MS
    health_check_period_s=5,
)
@serve.ingress()
class Replica:
    """One replica: models are loaded before it counts as started, so that Ray sends it nothing earlier."""

    def __init__(self, settings: Settings) -> None:
        log_to_stderr(settings.log_level)
        # A replica's counters are its own, and Ray sends each request to another: no /metrics that seems to say all.
        self._settings = settings.model_copy(update={"metrics_port": 0})
        self._telemetry = Telemetry()
        cuda = settings.device != "cpu"
        self._inference = ThreadPoolExecutor(CUDA_BATCHES if cuda else CPU_BATCHES, "inference")
        self._prepare = ThreadPoolExecutor(PREPARE_THREADS, "prepare")
        self._trial = ThreadPoolExecutor(1, "trial")
        self._dead: str | None = None
        self._registry, self._refused = self._load()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """The application that a worker of `twinserve serve` has."""
        settings, fetcher = self._settings, make_fetcher(self._settings)
        service = Service(
            lambda: self._registry,
            self._telemetry,
            self._prepare,
            today,
            fetch=None if fetcher is None else fetcher.fetch,
            shadowing=Shadowing(self._telemetry, self._trial, today),
        )
        # Each replica counts a key's rate for itself: how many there are, Ray decides.
        access = None if settings.keys_file is None else Access(parse_keys(read_keys(settings.keys_file).text), int)
        app = create_app(
            service,
            readiness=self.readiness,
            settings=settings,
            telemetry=self._telemetry,
            recorder=make_recorder(settings, 0, self._telemetry),
            access=access,
            tracer=tracer_of(os.environ),
        )
        return with_one_request_id(app)

    def readiness(self) -> Readiness:
        """What this replica serves, and what it refused."""
        models = {model.key: ModelState(True) for model in self._registry}
        models |= {key: ModelState(False, reason) for key, reason in self._refused.items()}
        return Readiness(self._dead is None, models)

    def check_health(self) -> None:
        """Ray replaces a replica that raises here."""
        if self._dead is not None:
            raise RuntimeError(self._dead)

    def _load(self) -> tuple[Registry, dict[str, str]]:
        """Read and load all models. Raises RuntimeError where the service would not start."""
        settings = self._settings
        check = signature_check(settings.signing_key, None)
        catalogue = read_catalogue(settings.models, settings.default_model, check=check)
        load = make_loader(settings, self._telemetry, self._inference, self._died)
        models, refused = [], {}
        for bundle in catalogue.bundles:
            try:
                models.append(load(bundle))
            except BundleRefused as error:
                refused[bundle.key] = error.detail
        catalogue = catalogue.without(refused)
        for key, reason in catalogue.refused.items():
            logging.getLogger(__name__).error("refused %s: %s", key, reason)
        if fault := catalogue.fault(strict=settings.strict_models):
            raise RuntimeError(f"{fault} (models are looked for in {settings.models})")
        order = catalogue.switch(1)
        registry = Registry(
            [model for model in models if model.key in order.models],
            default=settings.default_model,
            aliases=order.aliases,
            hidden=order.hidden,
            trials=order.trials,
        )
        return registry, dict(catalogue.refused)

    def _died(self, key: str, reason: str) -> None:
        self._dead = f"the engine of {key} stopped: {reason}"


def with_one_request_id(app: ASGIApp) -> ASGIApp:
    """The application without X-Request-ID on its answers: Ray's proxy makes the id, hands it in, and adds it there."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [one for one in message["headers"] if one[0] != b"x-request-id"]
            await send(message)

        await app(scope, receive, send_on)

    return answer


def application(arguments: dict[str, str]) -> serve.Application:
    """What `serve run twinserve_ray:application` and serve.yaml start.

    `arguments` are settings in lower case, such as default_model=glyphs; after them come TWINSERVE_ variables of the
    process that builds the application. Raises pydantic's ValidationError for a wrong one, ValueError for an audit.
    """
    settings = Settings(**arguments)
    if settings.audit:
        raise ValueError("TWINSERVE_AUDIT needs `twinserve serve`: replicas come and go, and with them their files")
    return Replica.bind(settings)  # type: ignore[attr-defined]
