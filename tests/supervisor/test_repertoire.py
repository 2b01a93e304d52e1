"""A change is made as a whole, everywhere, before it is reported. Real processes, made-up work."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.core.observe import Readiness
from app.settings import Settings
from app.supervisor.catalogue import read_catalogue
from app.supervisor.fleet import Fleet
from app.supervisor.repertoire import Repertoire
from app.supervisor.worker import Target
from tests.supervisor import fakes
from tests.supervisor.test_catalogue import spoil
from tests.supervisor.test_fleet import until
from tests.tiny import write_tiny

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


class Running:
    """What the supervisor is to a fleet, with a repertoire and nothing else."""

    def __init__(self, models: Path, target: Target, **settings: Any) -> None:
        self.lines: list[str] = []
        self.ready: list[bool] = []
        self.fleet = Fleet(2, target, dict, self)
        chosen = Settings(models=models, **settings)
        found = read_catalogue(models, None, check=None)
        self.models = Repertoire(chosen, found, self.fleet, self.lines.append, check=None)

    def readiness(self, serving: frozenset[str], workers_ready: int, *, swapping: bool) -> Readiness:
        readiness = self.models.catalogue.readiness(
            serving, workers_ready=workers_ready, stopping=False, swapping=swapping
        )
        self.ready.append(readiness.ready)
        return readiness

    def refused(self, reasons: Mapping[str, str]) -> None:
        assert self.models.refuse(reasons) is None

    def changed(self) -> None:
        pass

    def returned(self, connections: list[socket.socket]) -> None:
        assert not connections

    def say(self, line: str) -> None:
        self.lines.append(line)

    def give_up(self, line: str, *, hopeless: bool) -> None:
        raise AssertionError(f"{line} {hopeless}")

    def generations(self) -> set[int]:
        return {worker.generation for worker in self.fleet._workers.values()}


@asynccontextmanager
async def running(models: Path, target: Target, **settings: Any) -> AsyncIterator[Running]:
    write_tiny(models, calibrated=False)
    service = Running(models, target, **settings)
    service.models.serve(service.models.catalogue)
    service.fleet.start()
    try:
        await until(lambda: service.fleet.counts()["ready"] == 2)
        yield service
    finally:
        await service.fleet.drain()


async def test_reload_is_over_only_when_every_worker_has_switched_and_readiness_is_down_meanwhile(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, fakes.switch_late_in_slot_1) as service:
        write_tiny(tmp_path, version="1.1.0", calibrated=False)
        service.ready.clear()
        async with asyncio.timeout(90):
            report = await service.models.reload()
        assert report.lines == ("added tiny@1.1.0", "tiny means tiny@1.1.0, no longer tiny@1.0.0")
        assert service.generations() == {2}
        assert False in service.ready
        assert service.ready[-1]
        assert service.lines == [f"reload: {line}" for line in report.lines]


async def test_strict_change_that_a_worker_refuses_leaves_nothing_behind_in_the_others(tmp_path: Path) -> None:
    async with running(tmp_path, fakes.refuse_once_in_slot_1, strict_models=True) as service:
        write_tiny(tmp_path, version="1.1.0", calibrated=False)
        async with asyncio.timeout(90):
            report = await service.models.reload()
            await service.fleet.settled()
        assert report.refused
        assert report.lines[0].endswith("tiny@1.1.0: not here; no model has changed")
        assert list(service.models.catalogue.by_key) == ["tiny@1.0.0"]
        assert [len(worker.loaded) for worker in service.fleet._workers.values()] == [1, 1]


async def test_reloads_at_once_are_made_one_after_another(tmp_path: Path) -> None:
    async with running(tmp_path, fakes.serve_until_drained) as service:
        write_tiny(tmp_path, version="1.1.0", calibrated=False)
        async with asyncio.timeout(90):
            first, second = await asyncio.gather(service.models.reload(), service.models.reload())
        assert "added tiny@1.1.0" in first.lines
        assert second.lines == ("no model has changed",)


async def test_without_a_time_to_retire_what_is_gone_is_let_go_of_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, fakes.serve_until_drained, retire_s=0) as service:
        write_tiny(tmp_path, version="1.1.0", calibrated=False)
        shutil.rmtree(tmp_path / "tiny" / "1.0.0")
        async with asyncio.timeout(90):
            report = await service.models.reload()
        assert "let go of tiny@1.0.0" in report.lines
        assert [len(worker.loaded) for worker in service.fleet._workers.values()] == [1, 1]


async def test_watching_leaves_a_folder_alone_that_is_still_written_to(tmp_path: Path) -> None:
    async with running(tmp_path, fakes.serve_until_drained) as service:
        reloads = []

        async def reload() -> None:
            reloads.append(await service.models.reload())

        watching = asyncio.create_task(service.models.watch(0.2, reload))
        half = tmp_path / "tiny" / "1.1.0"
        half.mkdir()
        for size in range(100):
            (half / "model.onnx").write_bytes(bytes(size))
            await asyncio.sleep(0.01)
        assert reloads == []
        async with asyncio.timeout(90):
            await until(lambda: reloads)
        watching.cancel()
        assert reloads[0].refused


async def test_watching_takes_a_change_once_it_stands_still_and_a_bad_one_once(tmp_path: Path) -> None:
    async with running(tmp_path, fakes.serve_until_drained) as service:
        reloads = 0

        async def reload() -> None:
            nonlocal reloads
            await service.models.reload()
            reloads += 1

        watching = asyncio.create_task(service.models.watch(0.1, reload))
        folder = write_tiny(tmp_path, version="1.1.0", calibrated=False)
        async with asyncio.timeout(90):
            await until(lambda: reloads == 1)
            spoil(folder)
            await until(lambda: reloads == 2)
            (tmp_path / "aliases.toml").write_text("= 1")
            await until(lambda: reloads == 3)
        await asyncio.sleep(0.5)
        assert reloads == 3  # none of them is tried again before it changes
        watching.cancel()
        assert any(line.endswith("; the one that runs goes on") for line in service.lines)
