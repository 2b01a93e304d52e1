"""All worker processes: kept alive, listened to, told the one truth, drained. No listening socket, no exit codes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from app.core.observe import Readiness
from app.runtime.control import Closed, Died, Drain, FromWorker, Leaving, Loaded, Told, Up
from app.supervisor.dealing import Backoff, Candidate
from app.supervisor.worker import Target, WorkerProcess

MOST_STILLBORN = 5
"""So many deaths in a row before ever being ready end the service, unless another worker is ready."""
DEAD_ON_ARRIVAL_S = 2.0
"""How long a worker that outlived its drain may take to exit before it is killed."""


class Owner(Protocol):
    """Who runs the fleet: judges what workers report, and hears what happens."""

    def readiness(self, serving: frozenset[str], workers_ready: int) -> Readiness:
        """Say what every worker is to answer, given what the ready ones serve."""

    def refused(self, reasons: Mapping[str, str]) -> None:
        """Bundles that a worker refused, key -> reason."""

    def changed(self) -> None:
        """A worker came up, became ready or went."""

    def say(self, line: str) -> None:
        """One line for the operator."""

    def give_up(self, line: str, *, hopeless: bool) -> None:
        """The service cannot go on; `hopeless` where the machine cannot run it at all."""


class Fleet:
    """`size` slots, each with one worker process that is replaced when it dies."""

    def __init__(self, size: int, target: Target, arguments: Callable[[], Mapping[str, Any]], owner: Owner) -> None:
        self._size = size
        self._target = target
        self._arguments = arguments
        self._owner = owner
        self._workers: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self._restarts = 0

    def start(self) -> None:
        """Start every worker, and keep each slot filled from now on."""
        self._keepers = [asyncio.create_task(self._keep(slot)) for slot in range(self._size)]

    async def _keep(self, slot: int) -> None:
        backoff = Backoff()
        while not self._stopping:
            worker = self._workers[slot] = WorkerProcess(slot, self._heard)
            began = time.monotonic()
            try:
                ending = await worker.run(self._target, self._arguments())
            except OSError as error:
                ending = f"did not start: {error.strerror}"
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

    def _heard(self, worker: WorkerProcess, message: FromWorker) -> None:
        match message:
            case Up():
                worker.become("up")
            case Loaded(refused, providers):
                self._owner.refused(refused)  # first: a refused default means that nobody ever was ready
                worker.serving = dict(providers)
                worker.become("ready" if providers else "leaving")
            case Closed(connections):
                worker.connections -= connections
                return
            case Leaving():
                worker.become("leaving")
                worker.tell(Drain())
            case Died(reason, hopeless):
                worker.become("leaving")
                self._owner.say(f"worker {worker.slot} (pid {worker.pid}) is about to exit: {reason}")
                if hopeless:
                    self._owner.give_up(reason, hopeless=True)
        if self._stopping:
            worker.tell(Drain())  # it was on its way up when the others were told
        self._tell_all()

    def _tell_all(self) -> None:
        """Tell every worker the state of the service as it is now."""
        told = self.told()
        for worker in self._workers.values():
            worker.tell(told)
        self._owner.changed()

    def told(self) -> Told:
        """What workers are told now."""
        ready = [worker for worker in self._workers.values() if worker.state == "ready"]
        serving = frozenset[str]().union(*(worker.serving for worker in ready))
        return Told(self._owner.readiness(serving, len(ready)), self.counts(), self._restarts)

    def providers(self) -> set[str]:
        """The inference providers in use."""
        return {provider for worker in self._workers.values() for provider in worker.serving.values()}

    def restarts(self) -> int:
        """How many processes were started in place of one that died."""
        return self._restarts

    def serving(self) -> set[tuple[str, str]]:
        """The bundles that workers serve, and on which provider: (key, provider)."""
        return {pair for worker in self._workers.values() for pair in worker.serving.items()}

    def counts(self) -> dict[str, int]:
        """How many slots have a ready worker, and how many have none."""
        ready = sum(worker.state == "ready" for worker in self._workers.values())
        return {"ready": ready, "not_ready": self._size - ready}

    def candidates(self) -> list[Candidate[int]]:
        """Workers that can be dealt connections, by slot."""
        return [
            Candidate(slot, worker.state == "ready", worker.connections)
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

    async def drain(self, timeout_s: float) -> None:
        """Let every worker finish what is under way; kill what is left after `timeout_s` and a moment more."""
        self._stopping = True
        for keeper, worker in zip(self._keepers, list(self._workers.values()), strict=True):
            if worker.state == "dead":
                keeper.cancel()  # it waits to start the next one
            elif worker.state == "starting":
                worker.kill()  # it has no connections yet
            else:
                worker.tell(Drain())  # who is leaving too: one that no bundle was left for was not told before
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=timeout_s + DEAD_ON_ARRIVAL_S)
        self.kill()
        if self._keepers:
            await asyncio.wait(self._keepers)

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self._workers.values():
            worker.kill()
