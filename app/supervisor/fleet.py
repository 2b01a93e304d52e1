"""All worker processes: kept alive, given their models, told the one truth, drained. No listening socket or exit code.

A worker is told what to serve by level, not by step: whenever something changes, whoever lacks a bundle is sent it, and
whoever has all of them is told to switch. So one that dies amid a change is no special case.

Over 300 lines, since all of it reads and changes the one table of workers.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from app.runtime.control import (
    Beat,
    Closed,
    Died,
    Drain,
    FromWorker,
    Leaving,
    Loaded,
    Part,
    Refused,
    Switch,
    Switched,
    Told,
    ToWorker,
    Up,
)
from app.runtime.heart import interval_s
from app.supervisor.dealing import Backoff, Candidate
from app.supervisor.owner import Owner
from app.supervisor.watching import Watch
from app.supervisor.worker import Target, WorkerProcess

if TYPE_CHECKING:
    from app.core.bundle import Bundle

MOST_STILLBORN = 5
"""So many deaths in a row before ever being ready end the service, unless another worker is ready."""
MOST_LOST = 2
"""So many workers that end while they load a new bundle are reason enough not to ask another one."""
DEAD_ON_ARRIVAL_S = 2.0
"""How long a worker that outlived its drain may take to exit before it is killed."""


class Fleet:
    """`size` slots, each with one worker process that is replaced when it dies."""

    def __init__(
        self,
        size: int,
        target: Target,
        arguments: Callable[[], Mapping[str, Any]],
        owner: Owner,
        *,
        watchdog_s: float = 0.0,
        drain_s: float = 0.0,
    ) -> None:
        self._size = size
        self._watchdog_s = watchdog_s
        self._drain_s = drain_s
        self._watching: asyncio.Task[None] | None = None
        self._target = target
        self._arguments = arguments
        self._owner = owner
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = self._draining = False
        self._bundles: dict[str, Bundle] = {}
        self._coming: dict[str, Bundle] = {}
        self._order = Switch(0, {})
        self._news = asyncio.Event()
        self._restarts = 0

    def start(self) -> None:
        """Start every worker, and keep each slot filled from now on."""
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in range(self._size)]
        if self._watchdog_s:
            self._watching = asyncio.create_task(self._watch(interval_s(self._watchdog_s)))

    async def _keep(self, slot: int) -> None:
        backoff = Backoff()
        while not self._stopping:
            worker = self._workers[slot] = WorkerProcess(slot, self._heard, Watch(self._watchdog_s))
            self._bring_along(worker)
            began = time.monotonic()
            try:
                ending = await worker.run(self._target, self._arguments())
            except OSError as error:
                ending = f"did not start: {error.strerror}"
            self._owner.returned(worker.untaken)
            if self._stopping:
                return
            wait_s = backoff.died(lived_s=time.monotonic() - began, was_ready=worker.was_ready)
            self._tell_all()
            self._owner.say(f"worker {slot} (pid {worker.pid}) {ending}; the next one starts in {wait_s:.1f} s")
            if backoff.stillborn >= MOST_STILLBORN and not self.counts()["ready"]:
                line = f"worker {slot} ended {backoff.stillborn} times in a row before it was ready ({ending})"
                self._owner.give_up(line, hopeless=False)
                return
            await asyncio.sleep(wait_s)
            self._restarts += 1

    def serve(self, bundles: Mapping[str, Bundle], order: Switch) -> None:
        """Serve what `order` says from now on, made of `bundles`, by digest; `settled` tells when all do."""
        self._bundles, self._order = dict(bundles), order
        for worker in self._workers.values():
            self._bring_along(worker)
        self._tell_all()

    async def settled(self) -> None:
        """Wait until no ready worker serves anything but the last order."""
        await self._until(lambda: not self._swapping())

    async def load(self, bundles: Mapping[str, Bundle]) -> dict[str, str]:
        """Have every worker load these bundles, by digest, beside what it serves; return those refused, with reasons.

        First one worker alone, so that a bundle that no worker survives costs that one and not the service.
        """
        refused = {}
        for digest, bundle in bundles.items():
            for worker in self._workers.values():
                worker.forget_refusal(digest)
            if (reason := await self._try(digest, bundle)) is not None:
                refused[digest] = reason
        self._coming = {digest: bundle for digest, bundle in bundles.items() if digest not in refused}
        try:
            for worker in self._workers.values():
                self._bring_along(worker)
            await self._until(lambda: all(self._coming.keys() <= self._tried(worker) for worker in self._ready()))
            for worker in self._ready():
                refused |= {digest: worker.refused[digest] for digest in self._coming if digest in worker.refused}
        finally:
            self._coming = {}
        return refused

    async def _try(self, digest: str, bundle: Bundle) -> str | None:
        """Have one worker load a bundle; return why it is refused, or None."""
        for _ in range(MOST_LOST):
            await self._until(self._ready)
            worker = min(self._ready(), key=lambda worker: worker.connections)
            worker.load(bundle)
            await self._until(partial(self._is_over, worker, digest))
            if digest in self._tried(worker):
                return worker.refused.get(digest)
        return f"{MOST_LOST} workers ended while they loaded it"

    def _is_over(self, worker: WorkerProcess, digest: str) -> bool:
        return digest in self._tried(worker) or worker.state != "ready"

    def _tried(self, worker: WorkerProcess) -> set[str]:
        return worker.loaded.keys() | worker.refused.keys()

    async def _until(self, look: Callable[[], object]) -> None:
        """Wait until `look` gives something true; it is asked whenever a worker said something or went."""
        while not look():
            self._news.clear()
            await self._news.wait()

    def _bring_along(self, worker: WorkerProcess) -> None:
        """Send a worker what it lacks, and have it switch if it has all."""
        for bundle in self._bundles.values():
            worker.load(bundle)
        if worker.state in ("up", "ready"):
            worker.switch(self._order)
        if worker.state == "ready":
            for bundle in self._coming.values():
                worker.load(bundle)

    async def _watch(self, every_s: float) -> None:
        """Look at every ready worker on and on; end the one that hangs, so that its keeper replaces it."""
        while True:
            await asyncio.sleep(every_s)
            before = self.counts()
            for worker in self._workers.values():
                if worker.state == "ready" and (fault := worker.watch.look(loading=worker.is_loading)) is not None:
                    self._owner.say(f"worker {worker.slot} (pid {worker.pid}) hangs and is killed: {fault}")
                    worker.become("leaving")
                    worker.kill()
            if self.counts() != before:
                self._tell_all()

    def _heard(self, worker: WorkerProcess, message: FromWorker) -> None:
        was_quiet = worker.watch.quiet
        worker.watch.heard(message.batch_beats if isinstance(message, Beat) else None)
        if isinstance(message, Closed):
            worker.connections -= message.connections
        if isinstance(message, Beat | Closed) and not was_quiet:
            return  # nothing that anybody else needs to know
        self._learn(worker, message)
        if self._draining:
            worker.tell(Drain())  # it was on its way up when the others were told
        else:
            self._bring_along(worker)
        if isinstance(message, Loaded) and not was_quiet:
            self._news.set()  # there may be many of them, and they change nothing that workers are told
        else:
            self._tell_all()

    def _learn(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Up():
                worker.become("up")
            case Loaded(digest, provider):
                worker.loaded[digest] = provider
            case Refused(digest, reason):
                worker.refused[digest] = reason
                if digest in self._bundles:
                    self._owner.refused({self._bundles[digest].key: reason})
            case Switched(generation):
                worker.generation = generation
                worker.become("ready")
            case Leaving():
                self._leave(worker)
                worker.tell(Drain())
            case Died(reason, hopeless):
                self._leave(worker)
                self._owner.say(f"worker {worker.slot} (pid {worker.pid}) is about to exit: {reason}")
                if hopeless:
                    self._owner.give_up(reason, hopeless=True)

    def _leave(self, worker: WorkerProcess) -> None:
        """Deal it nothing more, and let it take no longer to end than a drain: until it has, its slot is empty."""
        worker.become("leaving")
        asyncio.get_running_loop().call_later(self._drain_s + DEAD_ON_ARRIVAL_S, worker.kill)

    def _tell_all(self) -> None:
        """Tell every worker the state of the service as it is now."""
        told = self.told()
        for worker in self._workers.values():
            if worker.state != "starting":  # it hears it when it comes up
                worker.tell(told)
        self._news.set()
        self._owner.changed()

    def tell(self, message: ToWorker) -> None:
        """Tell every worker, one that is still starting too."""
        for worker in self._workers.values():
            worker.tell(message)

    def told(self) -> Told:
        """What workers are told now."""
        ready = len(self._ready())
        serving = frozenset(self._order.models) if ready else frozenset[str]()
        return Told(self._owner.readiness(serving, ready, swapping=self._swapping()), self.counts(), self._restarts)

    def _ready(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.is_ready]

    def _swapping(self) -> bool:
        return any(worker.generation != self._order.generation for worker in self._ready())

    def providers(self) -> set[str]:
        """The inference providers in use."""
        return {provider for worker in self._workers.values() for provider in worker.loaded.values()}

    def restarts(self) -> int:
        """How many processes were started in place of one that died."""
        return self._restarts

    def serving(self) -> list[tuple[Bundle, str]]:
        """The bundles that workers serve, each with the provider that it runs on."""
        found = {
            (digest, provider)
            for worker in list(self._workers.values())
            for digest, provider in worker.loaded.items()
            if digest in self._bundles
        }
        return [(self._bundles[digest], provider) for digest, provider in sorted(found)]

    def counts(self) -> dict[str, int]:
        """How many slots have a ready worker, and how many have none."""
        ready = len(self._ready())
        return {"ready": ready, "not_ready": self._size - ready}

    def candidates(self) -> list[Candidate[int]]:
        """Workers that can be dealt connections, by slot."""
        return [
            Candidate(slot, worker.is_ready, worker.connections)
            for slot, worker in self._workers.items()
            if worker.state in ("up", "ready")
        ]

    def deal(self, slot: int, connection: socket.socket) -> bool:
        """Hand a connection to the worker in `slot`; False if it cannot take it now. Never blocks."""
        return self._workers[slot].deal(connection)

    def stop_replacing(self) -> None:
        """From now on the dead stay dead, and readiness is down."""
        self._stopping = True
        self._tell_all()

    def part(self) -> None:
        """Go on, but let every connection end with its next answer."""
        self.tell(Part())

    async def drain(self) -> None:
        """Let every worker finish what is under way; kill what is left after the drain time and a moment more."""
        self._stopping = self._draining = True
        if self._watching is not None:
            self._watching.cancel()
        for keeper, worker in zip(self._keepers, list(self._workers.values()), strict=True):
            if worker.state == "dead":
                keeper.cancel()  # it waits to start the next one
            elif worker.state == "starting":
                worker.kill()  # it has no connections yet
            else:
                worker.tell(Drain())  # who is leaving too: one that no bundle was left for was not told before
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=self._drain_s + DEAD_ON_ARRIVAL_S)
        self.kill()
        if self._keepers:
            await asyncio.wait(self._keepers)

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self._workers.values():
            worker.kill()
