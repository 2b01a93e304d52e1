"""Loads: closed loops, an open loop, or both at once, from one thread. What came back is kept and looked at afterwards.

A closed loop sends its next request when the last is answered, so its rate is the server's. An open loop sends at
times drawn beforehand (Poisson), whatever the server does; there a latency counts from the time that the request was
due, so that a stall is paid by every request that it delays, not by one (coordinated omission).
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.samples import Load, Sample
from benchmarks.wire import LOST, Answer, Connection, ProtocolError, Wire

MOST_CONNECTIONS = 900
"""Of an open loop; arrivals beyond wait, and their wait counts."""
READY_CONNECTIONS = 16
DRAIN_S = 60.0
CLOSED, OPEN = "closed", "open"


@dataclass(frozen=True, slots=True)
class Loops:
    """Closed loops, one a connection, each sending these requests round and round, and each from another one on."""

    requests: Sequence[bytes]
    connections: int

    def turns(self) -> list[Iterator[tuple[int, bytes]]]:
        """What each connection sends: numbers of requests, and the requests."""
        numbered = list(enumerate(self.requests))
        starts = [place * len(numbered) // self.connections for place in range(self.connections)]
        return [itertools.cycle([*numbered[start:], *numbered[:start]]) for start in starts]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """An open loop: these requests one after another, `rate` a second on average, at the times that `seed` draws."""

    requests: Sequence[bytes]
    rate: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class _Sent:
    loop: str
    request: int
    due: float
    at: float


def drive(
    port: int,
    seconds: float,
    *,
    loops: Loops | None = None,
    arrivals: Arrivals | None = None,
    settle_s: float = 0.0,
) -> Load:
    """Load the server for `settle_s` and then for `seconds`, which alone count, and wait for what is under way then.

    A request without an answer DRAIN_S after the end, or whose connection is lost, counts as an error.
    """
    gc.collect()
    gc.disable()  # what came back is kept until the end, and walking it again and again would cost more than sending
    try:
        with Wire(port) as wire:
            return _Drive(wire, loops, arrivals).run(settle_s, seconds)
    finally:
        gc.enable()


class _Drive:
    """One load under way."""

    def __init__(self, wire: Wire, loops: Loops | None, arrivals: Arrivals | None) -> None:
        self._wire = wire
        self._turns = {wire.open(): turn for turn in (loops.turns() if loops else ())}
        self._arrivals = arrivals
        self._arriving = itertools.cycle(enumerate(arrivals.requests if arrivals else ()))
        self._idle = deque(wire.open() for _ in range(READY_CONNECTIONS if arrivals else 0))
        # Taken from the front: a request that is due comes on the connection that was idle for longest, as from
        # independent callers. On the one used last it would go to the worker that answered last, idle or not.
        self._under_way: dict[Connection, _Sent] = {}
        self._samples: list[Sample] = []

    def run(self, settle_s: float, seconds: float) -> Load:
        cpu, began = time.process_time(), time.perf_counter()
        end = began + settle_s + seconds
        due = _schedule(self._arrivals, began, end)
        for connection in list(self._turns):
            self._send_next(connection)
        while (now := time.perf_counter()) < end:
            self._send_due(due, now)
            self._collect((due[0] if due and due[0] > now else end) - now, end)
        self._send_due(due, end)
        share = (time.process_time() - cpu) / (settle_s + seconds)
        deadline = end + DRAIN_S
        # The load stays until what was sent in the window is answered: an emptying server would flatter the last ones.
        while any(sent.at < end for sent in self._under_way.values()) and (now := time.perf_counter()) < deadline:
            self._collect(deadline - now, deadline)
        while self._under_way and (now := time.perf_counter()) < deadline:
            self._collect(deadline - now, 0.0)
        now = time.perf_counter()
        unanswered = [*self._under_way.values(), *(_Sent(OPEN, 0, late, late) for late in due)]
        self._samples += [Sample(sent.loop, sent.request, sent.due, sent.at, now, Answer(LOST)) for sent in unanswered]
        return Load(self._samples, began + settle_s, end, share)

    def _send_due(self, due: deque[float], now: float) -> None:
        """Send what is due by now, as long as there are connections."""
        while due and due[0] <= now and self._has_idle():
            self._send(self._idle.popleft(), OPEN, *next(self._arriving), due.popleft())

    def _has_idle(self) -> bool:
        if not self._idle and len(self._wire) < MOST_CONNECTIONS:
            self._idle.append(self._wire.open())
        return bool(self._idle)

    def _send_next(self, connection: Connection) -> None:
        self._send(connection, CLOSED, *next(self._turns[connection]), time.perf_counter())

    def _send(self, connection: Connection, loop: str, number: int, request: bytes, due: float) -> None:
        self._under_way[connection] = _Sent(loop, number, due, time.perf_counter())
        self._wire.send(connection, request)

    def _collect(self, seconds: float, end: float) -> None:
        """Take what was answered or lost within `seconds`; closed loops send on until `end`."""
        for answered, answer in self._wire.wait(seconds):
            now = time.perf_counter()
            sent = self._under_way.pop(answered, None)  # None: an idle connection that the server has closed
            if sent is not None:
                self._samples.append(Sample(sent.loop, sent.request, sent.due, sent.at, now, answer))
            connection = self._replace(answered) if answer.status == LOST else answered
            if connection not in self._turns:
                self._idle.append(connection)
            elif now < end:
                self._send_next(connection)

    def _replace(self, lost: Connection) -> Connection:
        new = self._wire.open()
        self._wire.drop(lost)
        with contextlib.suppress(ValueError):
            self._idle.remove(lost)
        if lost in self._turns:
            self._turns[new] = self._turns.pop(lost)
        return new


def _schedule(arrivals: Arrivals | None, began: float, end: float) -> deque[float]:
    """Times at which requests are due: exponential gaps, so that arrivals do not know of one another."""
    if arrivals is None:
        return deque()
    count = int((end - began) * arrivals.rate * 1.5) + 50
    times = began + np.cumsum(np.random.default_rng(arrivals.seed).exponential(1 / arrivals.rate, count))
    return deque(times[times < end].tolist())


def ask_each(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Every request once, one after another on one connection: what the server says when it has nothing else to do.

    Raises ProtocolError where the server goes away.
    """
    answers = []
    with Wire(port) as wire:
        connection = wire.open()
        for request in requests:
            wire.send(connection, request)
            while not (answered := wire.wait(DRAIN_S)):
                pass
            answers.append(answered[0][1])
            if answers[-1].status == LOST:
                raise ProtocolError("the server closed the connection")
    return answers
