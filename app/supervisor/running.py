"""One service from its start to its exit code. Here the parts are put together; each part's rules are its own.

Exit codes: 0 after a stop that was asked for; 2 where settings or the machine do not allow it to run (port in use,
device not to be had); 3 where the models do not (none left, the default refused, workers that never become ready).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import prometheus_client

from app import __version__
from app.core.errors import BundleRefused
from app.core.evidence import Calibration
from app.core.observe import Readiness
from app.records import read_signer
from app.runtime.control import loop_factory
from app.runtime.cpus import available_cpus
from app.settings import Settings
from app.supervisor.catalogue import Catalogue, read_catalogue
from app.supervisor.fleet import Fleet
from app.supervisor.listening import Acceptor, bind, url
from app.supervisor.state import metrics_folder, state_folder
from app.supervisor.worker import Target, enter
from app.telemetry import Drift, ModelFacts, States, facts_of, shared_registry

STOPPED, UNABLE, NO_MODELS = 0, 2, 3
DESCRIPTORS = 65_536
SAME_SIGNAL_S = 1.0
"""Signals this close together are one request to stop: timeout(1), systemd and terminals signal whole groups, twice."""


def say(line: str) -> None:
    """One line for the operator, on stderr."""
    print(f"twinserve: {line}", file=sys.stderr, flush=True)


def serve(settings: Settings, *, target: Target = enter) -> int:
    """Run the service until it is told to stop, and return its exit code. `target` is what a worker process runs."""
    with contextlib.ExitStack() as cleanup:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        if settings.record_key_file is not None:
            try:
                read_signer(settings.record_key_file)
            except ValueError as error:
                say(f"TWINSERVE_RECORD_KEY_FILE={settings.record_key_file}: {error}")
                return UNABLE
        try:
            listener = cleanup.enter_context(bind(settings.host, settings.port))
        except OSError as error:
            say(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}")
            return UNABLE
        try:
            folder = cleanup.enter_context(metrics_folder(cleanup.enter_context(state_folder(settings.state_dir))))
        except OSError as error:
            say(f"no state folder at {settings.state_dir or 'the temporary folder'}: {error.strerror or error}")
            return UNABLE
        try:
            catalogue = read_catalogue(settings.models, settings.default_model)
        except BundleRefused as error:
            say(error.detail)
            return NO_MODELS
        for key, reason in catalogue.refused.items():
            say(f"refused {key}: {reason}")
        for alias, meant in catalogue.dangling().items():
            say(f"warning: alias {alias} means {meant}, which is not there")
        if fault := catalogue.fault(strict=settings.strict_models):
            say(f"{fault} (models are looked for in {settings.models})")
            return NO_MODELS
        _raise_descriptor_limit()
        service = Supervisor(settings, catalogue, listener, folder, target)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(service.run())


class Supervisor:
    """The running service: owns the fleet and the acceptor, judges what workers report, and decides when it is over."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, listener: socket.socket, metrics: Path, target: Target
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._listener = listener
        self._metrics = metrics
        self._size = settings.workers or default_workers(settings.device)
        self._fleet = Fleet(self._size, target, self._arguments, self)
        self._acceptor = Acceptor(listener, self._fleet.candidates, self._fleet.deal)
        self._over = asyncio.Event()
        self._exit_code = STOPPED
        self._asked_at: float | None = None
        self._stopping = False
        self._was_ready = False

    async def run(self) -> int:
        """Serve until a signal or a fault ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        try:
            with self._own_metrics_port():
                self._introduce()
                self._fleet.start()
                await self._over.wait()
                self._fleet.stop_replacing()
                self._acceptor.close()
                await self._fleet.drain(self._settings.drain_ms / 1000)
        except _MetricsPortError as error:
            say(str(error))
            return UNABLE
        return self._exit_code

    def readiness(self, serving: frozenset[str], workers_ready: int) -> Readiness:
        """Say what every worker is to answer at /health/ready."""
        return self._catalogue.readiness(serving, workers_ready=workers_ready, stopping=self._stopping)

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Take bundles that a worker refused out of the catalogue; they count as any other refused one."""
        new = {key: reason for key, reason in reasons.items() if key not in self._catalogue.refused}
        for key, reason in new.items():
            say(f"refused {key}: {reason}")
        self._catalogue = self._catalogue.without(new)
        if new and (fault := self._catalogue.fault(strict=self._settings.strict_models)):
            self.give_up(fault, hopeless=False)

    def changed(self) -> None:
        """Deal again, and say so when the service becomes ready or stops being so."""
        self._acceptor.wake()
        told = self._fleet.told()
        if told.readiness.ready != self._was_ready and not self._stopping:
            self._was_ready = told.readiness.ready
            say(f"ready on {', '.join(sorted(self._fleet.providers()))}" if self._was_ready else "not ready")

    def say(self, line: str) -> None:
        """One line for the operator."""
        say(line)

    def give_up(self, line: str, *, hopeless: bool) -> None:
        """End the service with one line and the exit code of the cause; the first cause counts."""
        if not self._over.is_set():
            say(line)
            self._exit_code = UNABLE if hopeless else NO_MODELS
            self._end()

    def _end(self) -> None:
        """Be ready no more, and go on to the drain."""
        self._stopping = True
        self._over.set()

    def _asked_to_stop(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            say(f"{number.name}: finishing what is under way")
            self._end()
        elif now - self._asked_at > SAME_SIGNAL_S:
            say(f"{number.name} again: stopping at once")
            self._fleet.kill()

    def _arguments(self) -> Mapping[str, Any]:
        return {
            "settings": self._settings,
            "bundles": list(self._catalogue.bundles),
            "aliases": self._catalogue.aliases,
            "metrics": self._metrics,
        }

    def _facts(self) -> list[ModelFacts]:
        bundles = {bundle.key: bundle for bundle in self._catalogue.bundles}
        return [facts_of(bundles[key], provider) for key, provider in sorted(self._fleet.serving()) if key in bundles]

    def _calibrations(self) -> dict[str, Calibration]:
        return {one.key: one.calibration for one in self._catalogue.bundles if one.calibration is not None}

    def _introduce(self) -> None:
        names = ", ".join(
            f"{bundle.key} (default)" if bundle.key == self._catalogue.default_key else bundle.key
            for bundle in self._catalogue.bundles
        )
        tuned = f", tuned by {self._settings.tuned}" if self._settings.tuned is not None else ""
        say(f"version {__version__}, {self._size} workers, device {self._settings.device}{tuned}, serving {names}")
        say(f"listening on {url(self._listener)}")

    @contextlib.contextmanager
    def _own_metrics_port(self) -> Iterator[None]:
        if self._settings.metrics_port is None:
            yield
            return
        states = States(self._fleet.counts, restarts=self._fleet.restarts, models=self._facts)
        drift = Drift(self._calibrations, folder=self._metrics / "scores")
        registry = shared_registry(self._metrics, states=states, drift=drift)
        try:
            server, thread = prometheus_client.start_http_server(
                self._settings.metrics_port, self._settings.host, registry
            )
        except OSError as error:
            raise _MetricsPortError(
                f"cannot serve metrics on {self._settings.host} port {self._settings.metrics_port}: {error.strerror}"
            ) from error
        say(f"metrics on {url(server.socket)}/metrics")
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _MetricsPortError(Exception):
    """The metrics port cannot be had."""


def default_workers(device: str) -> int:
    """One worker where a GPU is used, else one a usable CPU.

    What `auto` will get is told from the wheel alone: that with CUDA is installed to use a GPU, and asking the
    device itself would need the engine, which the supervisor does not load.
    """
    return 1 if expects_gpu(device) else available_cpus()


def expects_gpu(device: str) -> bool:
    """Whether this device is, or is likely to be, a GPU."""
    return device == "cuda" or (device == "auto" and _cuda_wheel_is_installed())


def _cuda_wheel_is_installed() -> bool:
    try:
        importlib.metadata.distribution("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _raise_descriptor_limit() -> None:
    """Let this process and its workers hold many connections: the usual soft limit of 1,024 is for old programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _leave(number: int, _frame: object) -> NoReturn:
    """Stop before anything is served, cleaning up on the way out."""
    say(f"{signal.Signals(number).name}: stopping")
    raise SystemExit(STOPPED)
