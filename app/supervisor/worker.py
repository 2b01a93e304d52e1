"""One worker process as the supervisor sees it: started, talked to, dealt connections, and known to be dead.

Nothing here imports the HTTP framework or the inference engine: the worker does, in its own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from app.runtime.control import Channel, FromWorker, Switch, ToWorker
from app.supervisor.watching import Watch

if TYPE_CHECKING:
    from app.core.bundle import Bundle

State = Literal["starting", "up", "ready", "leaving", "dead"]
Target = Callable[..., None]

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def enter(**arguments: Any) -> None:
    """Be a worker: the first function that runs in its process."""
    gc.disable()  # until it serves: what is imported and loaded before is there to stay, and no garbage
    from app.worker import run_worker  # noqa: PLC0415  (the supervisor itself must never import what a worker needs)

    sys.exit(run_worker(**arguments))


class WorkerProcess:
    """A process in one slot, with its control channel and the socket that connections are dealt over."""

    def __init__(self, slot: int, on_message: Callable[[WorkerProcess, FromWorker], None], watch: Watch) -> None:
        self.slot = slot
        self.watch = watch
        self.state: State = "starting"
        self.connections = 0
        self.asked: set[str] = set()
        """Digests of the bundles that it was asked to load, and has not let go of."""
        self.loaded: dict[str, str] = {}
        """Those that it has loaded: digest -> inference provider in use."""
        self.refused: dict[str, str] = {}
        """Those that it cannot serve: digest -> reason."""
        self.told = self.generation = 0
        """Which generation of models it was told to switch to, and which it serves; 0 for none."""
        self.untaken: list[socket.socket] = []
        """Connections dealt to it that it had not yet taken when it ended: nobody has read from them."""
        self.was_ready = False
        self._on_message = on_message
        self._doomed = False
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: Channel[ToWorker, FromWorker] | None = None
        self._deals: socket.socket | None = None
        self._loads: asyncio.Queue[Bundle | None] = asyncio.Queue()

    @property
    def pid(self) -> int | None:
        """The process id, None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether its models are loaded and it has shown life of late."""
        return self.state == "ready" and not self.watch.quiet

    @property
    def is_loading(self) -> bool:
        """Whether it was asked for a bundle of which it has not said how it went."""
        return not self.asked <= self.loaded.keys() | self.refused.keys()

    async def run(self, target: Target, arguments: Mapping[str, Any]) -> str:
        """Start the process, wait for its end, and return in words how it ended. Raises OSError if it cannot start."""
        context = multiprocessing.get_context("spawn")
        control, their_control = context.Pipe(duplex=True)
        self._deals, their_deals = socket.socketpair()
        self._deals.setblocking(False)
        their_loads, loads = context.Pipe(duplex=False)
        process = context.Process(
            target=target,
            kwargs={
                "slot": self.slot,
                "control": their_control,
                "deals": their_deals,
                "loads": their_loads,
                **arguments,
            },
            name=f"twinserve-worker-{self.slot}",
            daemon=True,
        )
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self._channel = Channel(control)
        try:
            # In a thread: starting waits for the child's first steps.
            await loop.run_in_executor(None, start, process)
            self._process = process
            their_loads.close()  # so that a write to a dead worker fails instead of waiting
            feeding = loop.create_task(self._feed(loads))
            if self._doomed:
                process.kill()
            self._channel.watch(lambda message: self._on_message(self, message), lambda: None)
            loop.add_reader(process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(process.sentinel)
            await loop.run_in_executor(None, process.join)
            self._loads.put_nowait(None)
            await feeding
            self._channel.read()  # its last words, such as why it died
            self.untaken = _left_in(their_deals)
            return _ending(process.exitcode)
        finally:
            self.state = "dead"
            for end in (their_control, their_deals, their_loads, loads, self._deals, self._channel):
                end.close()

    async def _feed(self, pipe: Connection) -> None:
        """Write the bundles to load, one after another: in a thread, since the worker reads one when it can load it."""
        loop = asyncio.get_running_loop()
        while (bundle := await self._loads.get()) is not None:
            with contextlib.suppress(OSError):  # it has died
                await loop.run_in_executor(None, pipe.send, bundle)

    def deal(self, connection: socket.socket) -> bool:
        """Hand over a connection without ever blocking; False if it cannot be taken now. The caller closes its copy."""
        if self._deals is None:
            return False
        try:
            socket.send_fds(self._deals, [b"."], [connection.fileno()])
        except OSError:  # full, or too many descriptors under way, or the worker has just died
            return False
        self.connections += 1
        return True

    def load(self, bundle: Bundle) -> None:
        """Have it load a bundle, unless it was asked already; it answers with Loaded or Refused."""
        digest = bundle.manifest.manifest_digest
        if digest not in self.asked:
            self.asked.add(digest)
            self._loads.put_nowait(bundle)

    def forget_refusal(self, digest: str) -> None:
        """Make it possible to ask for a bundle again that it refused."""
        if self.refused.pop(digest, None) is not None:
            self.asked.discard(digest)

    def switch(self, order: Switch) -> None:
        """Have it serve what `order` says, once it has loaded all of that; to be called whenever either changes."""
        wanted = set(order.models.values())
        if self.told != order.generation and self.loaded.keys() >= wanted:
            self.told = order.generation
            self.tell(order)
            self.asked -= self.loaded.keys() - wanted  # it lets go of these
            self.loaded = {digest: provider for digest, provider in self.loaded.items() if digest in wanted}

    def tell(self, message: ToWorker) -> None:
        """Send a message; one that is still starting finds it later. A worker that reads nothing any more is killed."""
        if self._channel is not None and not self._channel.send(message):
            self.kill()

    def become(self, state: State) -> None:
        """Go on to `state`; who is leaving or dead never comes back."""
        if self.state in ("leaving", "dead"):
            return
        self.state = state
        self.was_ready = self.was_ready or state == "ready"

    def kill(self) -> None:
        """End the process at once, whatever it does, or as soon as it has started."""
        self._doomed = True
        if self._process is not None and self._process.exitcode is None:
            self._process.kill()


def start(process: multiprocessing.process.BaseProcess) -> None:
    """Start with signals held, so that none can end the child before it has said what they mean to it."""
    resource_tracker.ensure_running()  # it releases the signals it holds, so it must be up before ours are held
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _left_in(deals: socket.socket) -> list[socket.socket]:
    """Take back the connections that wait in the worker's end of the socket, which its death leaves as it was."""
    deals.setblocking(False)
    found: list[socket.socket] = []
    try:
        while (received := socket.recv_fds(deals, 1, 1))[0]:
            found += [socket.socket(fileno=descriptor) for descriptor in received[1]]
    except OSError:  # nothing more
        pass
    return found


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exited with {code}"
