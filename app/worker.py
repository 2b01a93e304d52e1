"""One worker process: HTTP up at once, models loaded beside it, then whatever the supervisor tells. Makes no parts.

app/main.py makes them; the supervisor starts this in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.access import Access, parse_keys
from app.api.server import DealtServer
from app.core.bundle import Bundle
from app.core.errors import BundleRefused, DeviceUnavailable, NotReady
from app.core.evidence import Calibration, score_edges
from app.core.observe import Readiness, Tracer
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
from app.runtime.control import (
    Beat,
    Channel,
    Closed,
    Died,
    Drain,
    FromWorker,
    Keys,
    Leaving,
    Loaded,
    Part,
    Refused,
    Switch,
    Switched,
    Told,
    ToWorker,
    Up,
    loop_factory,
)
from app.runtime.cpus import step_back
from app.runtime.heart import Heart
from app.runtime.memory import bound_memory, give_back_memory_soon
from app.runtime.registry import Model, Registry
from app.runtime.stock import Stock
from app.service import Service, Shadowing
from app.settings import Settings
from app.telemetry import Drift, ModelFacts, States, Telemetry, facts_of, log_to_stderr, tracer_of

FAILED = 70  # sysexits.h: internal software error
SWITCH_S = 0.0005
"""How long a batch's thread may keep the interpreter from the event loop that waits for it. Python's own 5 ms are all
the time that a request has which is only to be turned away.
"""

logger = logging.getLogger(__name__)


def run_worker(
    *,
    slot: int,
    control: Connection,
    deals: socket.socket,
    loads: Connection,
    settings: Settings,
    told: Told,
    keys: Keys | None,
    metrics: Path,
) -> int:
    """Be the worker in `slot` until told to drain, and return the exit code.

    `loads` brings the bundles to load, `told` is the state of the service by now, `metrics` the folder of all slots.
    """
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to every process; the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr(settings.log_level)
    sys.setswitchinterval(SWITCH_S)
    if settings.memory_mb is not None:
        bound_memory(settings.memory_mb)
    worker = Worker(Channel(control), loads, settings, told, keys, slot=slot)
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
        loads: Connection,
        settings: Settings,
        told: Told,
        keys: Keys | None = None,
        *,
        slot: int = 0,
    ) -> None:
        self._slot = slot
        self._channel = channel
        self._loads = loads
        self._settings = settings
        self._stock = Stock(on_gone=give_back_memory_soon)
        self._registry: Registry | None = None
        self._told = told
        self._access = None if keys is None else Access(parse_keys(keys.text), self._sharers)
        self._heart = Heart(settings.watchdog_ms / 1000, self._stock.under_way, lambda beats: self._tell(Beat(beats)))
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
        device = self._settings.device
        batches = CPU_BATCHES if device == "cpu" else CUDA_BATCHES
        # What feeds a GPU is no more patient than the event loop.
        with (
            ThreadPoolExecutor(batches, "inference", initializer=None if device == "cuda" else step_back) as inference,
            ThreadPoolExecutor(PREPARE_THREADS, "prepare", initializer=step_back) as prepare,
            ThreadPoolExecutor(1, "trial", initializer=step_back) as trial,  # started only once there is one on trial
        ):
            fetcher = make_fetcher(self._settings)
            shadowing = Shadowing(telemetry, trial, today)
            service = Service(
                self.models,
                telemetry,
                prepare,
                today,
                fetch=None if fetcher is None else fetcher.fetch,
                shadowing=shadowing,
            )
            app = create_app(
                service,
                readiness=self.readiness,
                settings=self._settings,
                telemetry=telemetry,
                access=self._access,
                recorder=recorder,
                tracer=tracer,
            )
            self._server = DealtServer(
                app,
                deals,
                keep_alive_s=self._settings.keep_alive_s,
                drain_ms=self._settings.drain_ms,
                max_connections=self._settings.max_connections,
                on_up=lambda: self._tell(Up()),
                on_closed=self._count_closed,
            )
            self._channel.watch(self._heard, self._server.stop)
            loop.add_signal_handler(signal.SIGTERM, self._tell, Leaving())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
            # A thread of its own, and a daemon: a stop while models load must not wait for them.
            threading.Thread(target=self._load, args=(loop, telemetry, inference), daemon=True).start()
            await self._server.serve_dealt()
            self._heart.stop()
            shadowing.close()
            await self._stock.close()
            if fetcher is not None:
                await fetcher.close()
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

    def _sharers(self) -> int:
        """How many ready workers share each key's rate."""
        return self._told.workers.get("ready", 0)

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
        """Load bundles as they come, one at a time, so that no two of them are held in memory twice at once."""

        def died(key: str, reason: str) -> None:
            self._fail(f"the engine of {key} stopped: {reason}", hopeless=False)

        load = make_loader(self._settings, telemetry, inference, died)
        with self._loads, contextlib.suppress(EOFError, OSError):  # the supervisor is gone
            while True:
                self._from_thread(loop, *self._outcome(self._loads.recv(), load, telemetry))

    def _outcome(self, bundle: Bundle, load: Callable[[Bundle], Model], telemetry: Telemetry) -> tuple[Any, ...]:
        """What the event loop is to do about a bundle: a function and its arguments."""
        try:
            return self._loaded, telemetry, load(bundle)
        except BundleRefused as error:
            reason, hopeless = error.detail, None
        except DeviceUnavailable as error:
            reason, hopeless = error.detail, True
        except Exception as error:
            logger.exception("a model could not be loaded")
            reason, hopeless = f"models could not be loaded ({type(error).__name__})", False
        if hopeless is None or self._registry is not None:  # what is served goes on, whatever is the matter with this
            return self._tell, Refused(bundle.manifest.manifest_digest, reason)
        return self._fail, reason, hopeless

    def _from_thread(self, loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the worker was stopped meanwhile
            loop.call_soon_threadsafe(call, *arguments)

    def _loaded(self, telemetry: Telemetry, model: Model) -> None:
        self._stock.add(model)
        if model.bundle.calibration is not None:
            telemetry.watch_scores(model.key, score_edges(model.bundle.calibration))
        self._tell(Loaded(model.digest, model.encoder.provider))

    def _switch(self, order: Switch) -> None:
        self._registry = self._stock.switch(order, self._settings.default_model)
        # What is loaded by now stays: the collector need not walk all of it again and again while requests come in.
        gc.collect()
        gc.freeze()
        gc.enable()
        give_back_memory_soon()
        self._tell(Switched(order.generation))
        self._heart.start()

    def _fail(self, reason: str, hopeless: bool) -> None:
        self._exit_code = FAILED
        self._tell(Died(reason, hopeless))
        self._server.stop()

    def _heard(self, message: ToWorker) -> None:
        match message:
            case Told():
                self._told = message
            case Keys(text):
                if self._access is not None:
                    self._access.replace(parse_keys(text))
            case Switch():
                self._switch(message)
            case Part():
                self._server.part()
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
