"""The composition root of a worker process: here, and nowhere else, its parts are made and put together. No rules."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from app.api import build
from app.api.door import Door
from app.api.server import DealtServer
from app.core.bundle import Bundle
from app.core.errors import DeviceUnavailable, NotReady
from app.core.evidence import Calibration, score_edges
from app.core.modalities.base import Limits
from app.core.observe import ModelState, Observer, Readiness, Tracer
from app.records import AuditFile, read_signer
from app.runtime.control import (
    Channel,
    Closed,
    Died,
    Drain,
    FromWorker,
    Leaving,
    Loaded,
    Told,
    ToWorker,
    Up,
    loop_factory,
)
from app.runtime.registry import Registry, load_models
from app.service import Recorder, Service
from app.settings import Settings
from app.telemetry import Drift, ModelFacts, States, Telemetry, facts_of, log_to_stderr, tracer_of

FAILED = 70  # sysexits.h: internal software error
PREPARE_THREADS = 2
CPU_BATCHES, CUDA_BATCHES = 1, 2
"""Batches that one worker runs side by side."""

logger = logging.getLogger(__name__)


def create_app(
    service: Service,
    *,
    readiness: Callable[[], Readiness],
    settings: Settings,
    telemetry: Telemetry,
    recorder: Recorder,
    tracer: Tracer | None = None,
) -> Door:
    """Return the ASGI application of one worker. /metrics is part of it unless it has a port of its own."""
    return build(
        service,
        readiness=readiness,
        metrics=telemetry.exposition if settings.metrics_port is None else None,
        observer=telemetry,
        recorder=recorder,
        max_body_bytes=settings.max_body_bytes,
        max_items=settings.max_items,
        request_timeout_ms=settings.request_timeout_ms,
        max_requests=settings.max_requests,
        tracer=tracer,
    )


def run_worker(
    *,
    slot: int,
    control: Connection,
    deals: socket.socket,
    settings: Settings,
    bundles: list[Bundle],
    aliases: Mapping[str, str],
    metrics: Path,
) -> int:
    """Be the worker in `slot` until told to drain, and return the exit code. `metrics` is the folder of all slots."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches every process; the supervisor decides
    log_to_stderr(settings.log_level)
    worker = Worker(Channel(control), settings, bundles, aliases, slot=slot)
    states = States(worker.workers, restarts=worker.restarts, models=worker.facts)
    drift = Drift(worker.calibrations, folder=metrics / "scores")
    telemetry = Telemetry.shared(metrics, slot, states=states, drift=drift)
    tracer = tracer_of(os.environ)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        exit_code = runner.run(worker.run(telemetry, deals, tracer))
    tracer.close()
    return exit_code


class Worker:
    """One worker's life: HTTP up at once, models loaded beside it, then whatever the supervisor tells."""

    def __init__(
        self,
        channel: Channel[FromWorker, ToWorker],
        settings: Settings,
        bundles: list[Bundle],
        aliases: Mapping[str, str],
        *,
        slot: int = 0,
    ) -> None:
        self._slot = slot
        self._channel = channel
        self._settings = settings
        self._bundles = bundles
        self._aliases = aliases
        self._registry: Registry | None = None
        self._told = Told(Readiness(False, {bundle.key: ModelState(False, "loading") for bundle in bundles}), {})
        self._closed = 0
        self._exit_code = 0

    async def run(self, telemetry: Telemetry, deals: socket.socket, tracer: Tracer | None = None) -> int:
        """Serve until drained."""
        loop = asyncio.get_running_loop()
        try:
            recorder = make_recorder(self._settings, self._slot, telemetry)
        except (OSError, ValueError) as error:
            self._tell(Died(f"verdicts cannot be recorded: {error}", hopeless=True))
            return FAILED
        inference_threads = CPU_BATCHES if self._settings.device == "cpu" else CUDA_BATCHES
        with (
            ThreadPoolExecutor(inference_threads, "inference") as inference,
            ThreadPoolExecutor(PREPARE_THREADS, "prepare") as prepare,
        ):
            service = Service(self.models, telemetry, prepare, today)
            app = create_app(
                service,
                readiness=self.readiness,
                settings=self._settings,
                telemetry=telemetry,
                recorder=recorder,
                tracer=tracer,
            )
            self._server = DealtServer(
                app,
                deals,
                keep_alive_s=self._settings.keep_alive_s,
                drain_ms=self._settings.drain_ms,
                on_up=lambda: self._tell(Up()),
                on_closed=self._count_closed,
            )
            self._channel.watch(self._heard, self._server.stop)
            loop.add_signal_handler(signal.SIGTERM, self._tell, Leaving())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
            # A thread of its own, and a daemon: a stop while models load must not wait for them.
            threading.Thread(target=self._load, args=(loop, telemetry, inference), daemon=True).start()
            await self._server.serve_dealt()
            if self._registry is not None:
                await self._registry.close()
            recorder.close()
            self._channel.close()
        return self._exit_code

    def models(self) -> Registry:
        """Return the models now served. Raises NotReady while there are none yet."""
        if self._registry is None:
            raise NotReady("the models are still loading; try again in a moment", retry_after_s=1.0)
        return self._registry

    def readiness(self) -> Readiness:
        """Return what the supervisor last told."""
        return self._told.readiness

    def workers(self) -> Mapping[str, int]:
        """Return how many workers the supervisor last told of, by state."""
        return self._told.workers

    def restarts(self) -> int:
        """Return how many workers the supervisor last told to have replaced."""
        return self._told.restarts

    def facts(self) -> list[ModelFacts]:
        """Return what metrics tell of the models now served."""
        return [facts_of(model.bundle, model.encoder.provider) for model in self._registry or ()]

    def calibrations(self) -> dict[str, Calibration]:
        """Return the evidence of the models now served, by key; a model without any is left out."""
        return {model.key: found for model in self._registry or () if (found := model.bundle.calibration) is not None}

    def _load(self, loop: asyncio.AbstractEventLoop, telemetry: Telemetry, inference: ThreadPoolExecutor) -> None:
        settings = self._settings
        try:
            registry, refused = load_models(
                self._bundles,
                default=settings.default_model,
                aliases=self._aliases,
                limits=Limits(settings.max_body_bytes, settings.max_pixels, settings.max_seconds, settings.max_tokens),
                device=settings.device,
                threads=settings.threads,
                cuda_memory_mb=settings.cuda_memory_mb,
                batch_ms=settings.batch_ms,
                queue_items=settings.queue_items,
                queue_ms=settings.queue_ms,
                observer=telemetry,
                executor=inference,
                on_death=lambda key, reason: self._fail(f"the engine of {key} stopped: {reason}", hopeless=False),
            )
        except DeviceUnavailable as error:
            self._from_thread(loop, self._fail, error.detail, True)
        except Exception as error:
            logger.exception("models could not be loaded")
            self._from_thread(loop, self._fail, f"models could not be loaded ({type(error).__name__})", False)
        else:
            self._bundles.clear()  # whoever started this process still holds the list, and so every graph in it
            self._from_thread(loop, self._loaded, registry, refused, telemetry)

    def _from_thread(self, loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the worker was stopped meanwhile
            loop.call_soon_threadsafe(call, *arguments)

    def _loaded(self, registry: Registry, refused: Mapping[str, str], telemetry: Telemetry) -> None:
        self._registry = registry
        for key, calibration in self.calibrations().items():
            telemetry.watch_scores(key, score_edges(calibration))
        # What is loaded by now stays: the collector need not walk all of it again and again while requests come in.
        gc.collect()
        gc.freeze()
        give_back_memory()
        self._tell(Loaded(dict(refused), {model.key: model.encoder.provider for model in registry}))

    def _fail(self, reason: str, hopeless: bool) -> None:
        self._exit_code = FAILED
        self._tell(Died(reason, hopeless))
        self._server.stop()

    def _heard(self, message: ToWorker) -> None:
        match message:
            case Told():
                self._told = message
            case Drain():
                self._server.stop()

    def _tell(self, message: FromWorker) -> None:
        self._channel.send(message)  # where it cannot be sent, the supervisor is gone, and the channel's end says so

    def _count_closed(self) -> None:
        """Count a closed connection; those of one turn of the loop are told together."""
        if self._closed == 0:
            asyncio.get_running_loop().call_soon(self._tell_closed)
        self._closed += 1

    def _tell_closed(self) -> None:
        closed, self._closed = self._closed, 0
        self._tell(Closed(closed))


def give_back_memory() -> None:
    """Have the C library return the memory that loading and warming freed, where it can; glibc keeps it otherwise."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def make_recorder(settings: Settings, slot: int, observer: Observer) -> Recorder:
    """Return what makes records as the settings say, and keeps those of the worker in `slot` where they are to be kept.

    Raises ValueError for a key file that holds no key, OSError where its file cannot be opened.
    """
    key, state, audit = settings.record_key_file, settings.state_dir, None
    signer = None if key is None else read_signer(key)
    if settings.audit and state is not None:
        bounds = {"file_bytes": settings.audit_file_bytes, "files": settings.audit_files}
        audit = AuditFile(state / "audit", f"worker-{slot}", **bounds)
    refuses = settings.audit_on_failure == "refuse"
    return Recorder(observer, lambda: datetime.now(UTC), signer=signer, audit=audit, refuses=refuses)


def today() -> date:
    """Return the date in UTC, by which evidence grows stale."""
    return datetime.now(UTC).date()
