"""Workers are kept alive, told, drained and, where nothing else helps, killed. Real processes, made-up work."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping

import pytest

from app.core.bundle import Bundle
from app.core.observe import Readiness
from app.runtime.control import Keys, Switch
from app.supervisor.fleet import Fleet
from app.supervisor.worker import Target
from tests.supervisor import fakes
from tests.tiny import make_tiny

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


OLD = make_tiny(calibrated=False)
NEW = make_tiny(version="1.1.0", calibrated=False)


def digest(bundle: Bundle) -> str:
    return bundle.manifest.manifest_digest


def serve(fleet: Fleet, generation: int, *bundles: Bundle) -> None:
    by_digest = {digest(bundle): bundle for bundle in bundles}
    fleet.serve(by_digest, Switch(generation, {bundle.key: digest(bundle) for bundle in bundles}))


class Judge:
    """An owner that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gave_up: list[str] = []
        self.ready: list[int] = []
        self.swapping: list[bool] = []
        self.connections: list[socket.socket] = []

    def readiness(self, serving: frozenset[str], workers_ready: int, *, swapping: bool) -> Readiness:
        assert bool(serving) == bool(workers_ready)
        self.ready.append(workers_ready)
        self.swapping.append(swapping)
        return Readiness(workers_ready > 0, {})

    def refused(self, reasons: Mapping[str, str]) -> None:
        assert not reasons

    def changed(self) -> None:
        pass

    def returned(self, connections: list[socket.socket]) -> None:
        self.connections.extend(connections)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def give_up(self, line: str, *, hopeless: bool) -> None:
        self.gave_up.append(f"{line} {hopeless}")


async def until(look: Callable[[], object]) -> None:
    """Let the loop run until `look` returns something true."""
    async with asyncio.timeout(90):
        while not look():
            await asyncio.sleep(0.01)


def fleet_of(target: Target, judge: Judge, size: int = 1, **seconds: float) -> Fleet:
    fleet = Fleet(size, target, dict, judge, **seconds)
    serve(fleet, 1, OLD)
    fleet.start()
    return fleet


async def test_drained_workers_end_by_themselves_and_stay_gone() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.serve_until_drained, judge, size=2, drain_s=10)
    await until(lambda: fleet.counts() == {"ready": 2, "not_ready": 0})
    assert fleet.providers() == {"CPUExecutionProvider"}
    await fleet.drain()
    assert fleet.counts() == {"ready": 0, "not_ready": 2}
    assert fleet.candidates() == []
    assert judge.lines == []


async def test_worker_that_does_not_drain_in_time_is_killed() -> None:
    fleet = fleet_of(fakes.ignore_drain, Judge())
    await until(lambda: fleet.counts()["ready"])
    began = time.monotonic()
    await fleet.drain()
    assert time.monotonic() - began < 10


async def test_stop_while_workers_start_does_not_wait_for_them() -> None:
    fleet = fleet_of(fakes.ignore_drain, Judge(), drain_s=30)
    await asyncio.sleep(0)  # the process is being started now
    began = time.monotonic()
    await fleet.drain()
    assert time.monotonic() - began < 10


async def test_keys_told_while_a_worker_starts_reach_it() -> None:
    fleet = fleet_of(fakes.wait_for_keys, Judge())
    await asyncio.sleep(0)  # the process is being started now, with the keys of before
    fleet.tell(Keys("", 0))
    await until(lambda: fleet.counts()["ready"])
    await fleet.drain()


async def test_worker_that_dies_five_times_before_it_is_ready_ends_the_service() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.die_at_once, judge)
    await until(lambda: judge.gave_up)
    assert judge.gave_up == ["worker 0 ended 5 times in a row before it was ready (exited with 7) False"]
    assert [line.partition("; ")[2] for line in judge.lines] == [
        f"the next one starts in {wait} s" for wait in (0.1, 0.2, 0.4, 0.8, 1.6)
    ]
    await fleet.drain()


async def test_dead_engine_takes_readiness_down_before_its_worker_is_replaced() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.lose_the_engine, judge)
    await until(lambda: len(judge.lines) >= 2)
    assert "out of memory" in judge.lines[0]
    assert "exited with 70" in judge.lines[1]
    assert 0 in judge.ready[judge.ready.index(1) :]
    assert not judge.gave_up
    await fleet.drain()


async def test_worker_that_asks_to_leave_gets_no_more_connections_and_is_replaced() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.ask_to_leave, judge)
    await until(lambda: len(judge.lines) >= 2)
    assert all("exited with 0" in line for line in judge.lines)
    assert not judge.gave_up
    await fleet.drain()


async def test_new_bundle_is_loaded_by_all_and_served_by_none_before_all_are_told() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.serve_until_drained, judge, size=2)
    await until(lambda: fleet.counts()["ready"] == 2)
    judge.swapping.clear()
    async with asyncio.timeout(90):
        assert await fleet.load({digest(NEW): NEW}) == {}
        assert not any(judge.swapping)
        serve(fleet, 2, OLD, NEW)
        assert judge.swapping[-1]
        await fleet.settled()
    assert not judge.swapping[-1]
    assert judge.lines == []
    await fleet.drain()


async def test_bundle_that_no_worker_survives_is_refused_and_costs_one_worker_at_a_time() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.die_of_a_new_one, judge, size=2)
    await until(lambda: fleet.counts()["ready"] == 2)
    async with asyncio.timeout(90):
        refused = await fleet.load({digest(NEW): NEW})
    assert list(refused) == [digest(NEW)]
    assert "2 workers ended" in refused[digest(NEW)]
    await until(lambda: fleet.counts()["ready"] == 2)
    assert len(judge.lines) == 2
    assert all("SIGABRT" in line for line in judge.lines)
    await fleet.drain()


async def test_bundle_that_one_worker_refuses_is_refused_for_all() -> None:
    fleet = fleet_of(fakes.refuse_once_in_slot_1, Judge(), size=2)
    await until(lambda: fleet.counts()["ready"] == 2)
    async with asyncio.timeout(90):
        assert await fleet.load({digest(NEW): NEW}) == {digest(NEW): "not here"}
        assert await fleet.load({digest(NEW): NEW}) == {}  # asked again, it is tried again
    await fleet.drain()


async def test_worker_that_starts_after_a_change_serves_what_the_others_do() -> None:
    fleet = fleet_of(fakes.serve_until_drained, Judge())
    await until(lambda: fleet.counts()["ready"])
    async with asyncio.timeout(90):
        await fleet.load({digest(NEW): NEW})
        serve(fleet, 2, NEW)
        await fleet.settled()
    [worker] = fleet._workers.values()
    worker.kill()
    await until(lambda: fleet._workers[0] is not worker and fleet.counts()["ready"])
    assert (fleet._workers[0].generation, set(fleet._workers[0].loaded)) == (2, {digest(NEW)})
    await fleet.drain()


async def test_workers_that_die_as_they_switch_are_replaced_by_ones_that_serve_the_new_bundle() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.die_at_the_next_switch, judge, size=2)
    await until(lambda: fleet.counts()["ready"] == 2)
    async with asyncio.timeout(90):
        await fleet.load({digest(NEW): NEW})
        serve(fleet, 2, NEW)
        await fleet.settled()
    assert not any(worker.generation == 1 for worker in fleet._ready())
    await until(lambda: fleet.counts()["ready"] == 2)
    assert {(worker.generation, *worker.loaded) for worker in fleet._workers.values()} == {(2, digest(NEW))}
    assert len([line for line in judge.lines if "SIGABRT" in line]) == 2
    await fleet.drain()


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (fakes.hang, "no sign of life for 0.5 s"),
        (fakes.hang_in_a_batch, "one batch has been running for 0.5 s"),
    ],
)
async def test_worker_that_hangs_is_not_ready_and_is_killed_and_replaced(target: Target, fault: str) -> None:
    judge = Judge()
    fleet = fleet_of(target, judge, watchdog_s=0.5)
    await until(lambda: len(judge.lines) >= 2)
    assert judge.lines[0].endswith(f"hangs and is killed: {fault}")
    assert "killed by SIGKILL; the next one starts in 0.1 s" in judge.lines[1]
    assert 0 in judge.ready[judge.ready.index(1) :]
    before = judge.ready.count(1)
    await until(lambda: judge.ready.count(1) > before)  # the next one
    await fleet.drain()


async def test_worker_that_hangs_is_left_alone_where_the_watchdog_is_off() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.hang, judge)
    await until(lambda: fleet.counts()["ready"])
    await asyncio.sleep(1)
    assert fleet.counts()["ready"] == 1
    await fleet.drain()
    assert judge.lines == []


async def test_worker_that_wants_to_leave_and_does_not_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.supervisor.fleet.DEAD_ON_ARRIVAL_S", 0.2)
    judge = Judge()
    fleet = fleet_of(fakes.leave_and_stay, judge)
    await until(lambda: judge.lines)
    assert "killed by SIGKILL" in judge.lines[0]
    await fleet.drain()


async def test_connections_that_a_dead_worker_had_not_taken_come_back() -> None:
    judge = Judge()
    fleet = fleet_of(fakes.take_one, judge)
    await until(lambda: fleet.counts()["ready"])
    pairs = [socket.socketpair() for _ in range(3)]
    for ours, theirs in pairs:
        assert fleet.deal(0, theirs)
        theirs.close()
        ours.setblocking(False)
    await until(lambda: judge.lines)
    await fleet.drain()
    for number, connection in enumerate(judge.connections):
        connection.send(b"%d" % number)
        connection.close()
    assert len(judge.connections) == 2
    assert [ours.recv(9) for ours, _ in pairs] == [b"", b"0", b"1"]
    for ours, _ in pairs:
        ours.close()
