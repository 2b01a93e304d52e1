"""The measuring processes of one layout, seen from outside. What they measure is in measuring.py."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from app.core.bundle import Bundle
from app.supervisor.worker import start
from app.tuning.choice import Figure, Layout
from app.tuning.measuring import Opened, Pace, Round, measure


class CrewLostError(Exception):
    """A measuring process ended by itself."""


class Crew:
    """Processes that open the bundles and measure side by side, as the service's workers would run."""

    def __init__(self, bundles: Sequence[Bundle], layout: Layout) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(layout.processes):
            ours, theirs = context.Pipe(duplex=True)
            process = context.Process(target=measure, args=(theirs, bundles, layout.threads), daemon=True)
            self._pipes.append(ours)
            self._processes.append(process)
            start(process)
            theirs.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            if kind is not None:
                process.kill()
            process.join()

    def opened(self) -> Opened:
        """Wait until all have opened the bundles, and return what they found, which is the same for each."""
        answers: list[Opened] = self._hear()
        return answers[0]

    def go(self, asked: Round) -> Figure:
        """Let all go round at once, and return what they reached together."""
        self._tell(asked)
        self._hear()
        self._tell(True)
        paces: list[Pace] = self._hear()
        self._tell(False)
        each = [pace.batches / pace.seconds for pace in paces]
        return Figure(asked.batch * sum(each), 1000 * len(each) / sum(each))

    def _tell(self, message: object) -> None:
        try:
            for pipe in self._pipes:
                pipe.send(message)
        except OSError as error:
            raise CrewLostError("a measuring process ended by itself") from error

    def _hear(self) -> list[Any]:
        try:
            return [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError) as error:
            raise CrewLostError("a measuring process ended by itself") from error
