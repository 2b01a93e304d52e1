"""One service from its start to its exit code. Here the parts are put together; each part's rules are its own.

Exit codes: 0 after a stop that was asked for; 2 where settings or the machine do not allow it to run (port in use,
device not to be had); 3 where the models do not (none left, the default refused, workers that never become ready).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from app import __version__
from app.core.errors import BundleRefused, KeysRefused
from app.core.observe import Readiness
from app.runtime.control import Keys, loop_factory
from app.settings import Settings
from app.supervisor.commands import Report, listening
from app.supervisor.exposing import MetricsPortError, metrics_port
from app.supervisor.fleet import Fleet
from app.supervisor.keys import read_keys
from app.supervisor.listening import Acceptor, bind, url
from app.supervisor.machine import default_workers, raise_descriptor_limit
from app.supervisor.signatures import NoSignatureCheckError, signature_check
from app.supervisor.state import allocate_metrics, metrics_folder, state_folder
from app.supervisor.worker import Target, enter

if TYPE_CHECKING:
    from app.core.bundle import ManifestCheck
    from app.supervisor.catalogue import Catalogue
    from app.supervisor.repertoire import Repertoire

STOPPED, UNABLE, NO_MODELS = 0, 2, 3
SAME_SIGNAL_S = 1.0
"""Signals this close together are one request to stop: timeout(1), systemd and terminals signal whole groups, twice."""


def say(line: str) -> OSError | None:
    """One line for the operator, on stderr. Where nobody can take it, such as a full disk, say why, and go on."""
    try:
        print(f"twinserve: {line}", file=sys.stderr, flush=True)
    except OSError as error:
        return error
    return None


def serve(settings: Settings, *, target: Target = enter) -> int:
    """Run the service until it is told to stop, and return its exit code. `target` is what a worker process runs."""
    with contextlib.ExitStack() as cleanup:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it means to read models and keys, which is done now
        try:
            listener = cleanup.enter_context(bind(settings.host, settings.port))
        except OSError as error:
            say(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}")
            return UNABLE
        try:
            state = cleanup.enter_context(state_folder(settings.state_dir))
            folder = cleanup.enter_context(metrics_folder(state))
            allocate_metrics(folder, slots=settings.workers or default_workers(settings.device))
        except OSError as error:
            say(f"no state folder at {settings.state_dir or 'the temporary folder'}: {error.strerror or error}")
            return UNABLE
        try:
            keys = None if settings.keys_file is None else read_keys(settings.keys_file)
            if settings.record_key_file is not None:
                from app.records import read_signer  # noqa: PLC0415  (workers start after this, and few have such a key)

                read_signer(settings.record_key_file)
            check = signature_check(settings.signing_key, folder)
        except (KeysRefused, NoSignatureCheckError, ValueError) as error:
            named = f"TWINSERVE_RECORD_KEY_FILE={settings.record_key_file}: {error}"
            say(named if isinstance(error, ValueError) else str(error))
            return UNABLE
        raise_descriptor_limit()
        service = Supervisor(settings, listener, folder, target, keys=keys, check=check)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(service.run())


class Supervisor:
    """The running service: owns the fleet and the acceptor, judges what workers report, and decides when it is over."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        metrics: Path,
        target: Target,
        *,
        keys: Keys | None,
        check: ManifestCheck | None,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._check = check
        self._listener = listener
        self._metrics = metrics
        self._size = settings.workers or default_workers(settings.device)
        self._fleet = Fleet(
            self._size,
            target,
            self._arguments,
            self,
            watchdog_s=settings.watchdog_ms / 1000,
            drain_s=settings.drain_ms / 1000,
        )
        self._models: Repertoire | None = None
        """None until the folder of models was read."""
        self._acceptor = Acceptor(listener, self._fleet.candidates, self._fleet.deal)
        self._over = asyncio.Event()
        self._hurried = asyncio.Event()
        """Set where a stop is not to wait for gateways to hear of it."""
        self._exit_code = STOPPED
        self._asked_at: float | None = None
        self._stopping = False
        self._was_ready = False
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self) -> int:
        """Serve until a signal or a fault ends it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop, number)
        try:
            async with contextlib.AsyncExitStack() as cleanup:
                cleanup.enter_context(metrics_port(self._settings, self._metrics, self._fleet, say))
                self._fleet.start()  # before the models are read: workers take as long to import what they need
                try:
                    self._models = await asyncio.to_thread(self._read_models)
                except BundleRefused as error:
                    self.give_up(error.detail, hopeless=False)
                if self._models is not None and not self._over.is_set():
                    await self._serve(self._models, cleanup)
                await self._over.wait()
                for task in self._tasks:
                    task.cancel()
                self._fleet.stop_replacing()
                await self._linger()
                await self._acceptor.close()
                await self._fleet.drain()
        except MetricsPortError as error:
            say(str(error))
            return UNABLE
        return self._exit_code

    def _read_models(self) -> Repertoire:
        """Raises BundleRefused as read_repertoire does."""
        # Numpy and the models of evidence, which the workers need not wait for.
        from app.supervisor.repertoire import read_repertoire  # noqa: PLC0415

        return read_repertoire(self._settings, self._fleet, say, check=self._check)

    async def _serve(self, models: Repertoire, cleanup: contextlib.AsyncExitStack) -> None:
        """Serve these models, and take commands from now on."""
        self._introduce(models.catalogue)
        models.serve(models.catalogue)
        reload = partial(self._reload, models)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked_to_reload, reload)
        if (every_s := self._settings.watch_models_s) is not None:
            self._keep(models.watch(every_s, reload))
        if self._settings.state_dir is None:
            return
        try:
            await cleanup.enter_async_context(listening(self._settings.state_dir, reload))
        except OSError as error:
            say(f"warning: `twinserve reload` will not work, only SIGHUP will: {error.strerror or error}")

    async def _linger(self) -> None:
        """Go on, not ready, for as long as gateways may take to hear of it."""
        delay_s = self._settings.drain_delay_ms / 1000
        if delay_s and not self._hurried.is_set():
            self._fleet.part()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), delay_s)

    async def _reload(self, models: Repertoire) -> Report:
        """Read again whatever can change while the service runs."""
        keys, changed = self._reload_keys(), await models.reload()
        return Report(keys.lines + changed.lines, keys.refused or changed.refused)

    def _asked_to_reload(self, reload: Callable[[], Coroutine[Any, Any, Report]]) -> None:
        error = say("SIGHUP: reading models and keys again")
        if error is not None and error.errno == errno.EIO:
            self._end()  # the terminal has hung up: nobody asks for anything any more
        else:
            self._keep(reload())

    def _keep(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done beside the rest, until it is over or the service is."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def readiness(self, serving: frozenset[str], workers_ready: int, *, swapping: bool) -> Readiness:
        """Say what every worker is to answer at /health/ready."""
        if self._models is None:
            return Readiness(ready=False, models={})
        return self._models.catalogue.readiness(
            serving, workers_ready=workers_ready, stopping=self._stopping, swapping=swapping
        )

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Take bundles that a worker refused out of the catalogue; they count as any other refused one."""
        if self._models is not None and (fault := self._models.refuse(reasons)):
            self.give_up(fault, hopeless=False)

    def changed(self) -> None:
        """Deal again, and say so when the service becomes ready or stops being so."""
        self._acceptor.wake()
        ready = bool(self._fleet.counts()["ready"])  # a swap takes readiness down for a moment, which is no news
        if ready != self._was_ready and not self._stopping:
            self._was_ready = ready
            say(f"ready on {', '.join(sorted(self._fleet.providers()))}" if self._was_ready else "not ready")

    def returned(self, connections: list[socket.socket]) -> None:
        """Deal again what a dead worker had not taken."""
        self._acceptor.take_back(connections)

    def say(self, line: str) -> None:
        """One line for the operator."""
        say(line)

    def give_up(self, line: str, *, hopeless: bool) -> None:
        """End the service with one line and the exit code of the cause; the first cause counts."""
        if not self._over.is_set():
            say(line)
            self._exit_code = UNABLE if hopeless else NO_MODELS
            self._hurried.set()
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
            if number == signal.SIGINT:  # somebody at a terminal, not a gateway's operator
                self._hurried.set()
            self._end()
        elif now - self._asked_at > SAME_SIGNAL_S:
            say(f"{number.name} again: stopping at once")
            self._hurried.set()
            self._fleet.kill()

    def _reload_keys(self) -> Report:
        """Read the file of keys again; where it cannot be used, those in force stay."""
        if self._settings.keys_file is None:
            return Report(())
        try:
            self._keys = read_keys(self._settings.keys_file)
        except KeysRefused as error:
            report = Report((f"{error.detail}; the keys in force stay",), refused=True)
        else:
            self._fleet.tell(self._keys)
            report = Report((f"keys in force: {self._keys.count}",))
        say(report.lines[0])
        return report

    def _arguments(self) -> Mapping[str, Any]:
        return {
            "settings": self._settings,
            "told": self._fleet.told(),
            "keys": self._keys,
            "metrics": self._metrics,
        }

    def _introduce(self, catalogue: Catalogue) -> None:
        names = ", ".join(
            f"{bundle.key} (default)" if bundle.key == catalogue.default_key else bundle.key
            for bundle in catalogue.bundles
        )
        tuned = f", tuned by {self._settings.tuned}" if self._settings.tuned is not None else ""
        say(f"version {__version__}, {self._size} workers, device {self._settings.device}{tuned}, serving {names}")
        say(f"listening on {url(self._listener)} ({_who_may_call(self._keys)})")


def _who_may_call(keys: Keys | None) -> str:
    return "open to whoever reaches it" if keys is None else f"keys in force: {keys.count}"


def _leave(number: int, _frame: object) -> NoReturn:
    """Stop before anything is served, cleaning up on the way out."""
    say(f"{signal.Signals(number).name}: stopping")
    raise SystemExit(STOPPED)
