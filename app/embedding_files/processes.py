"""Shards embedded by processes side by side on this machine, each a run of its own, as a service's workers are."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from app.core.errors import BundleRefused, DeviceUnavailable
from app.embedding_files.embedding import Embedded, Embedder, Recipe
from app.embedding_files.sources import Row
from app.supervisor.worker import start

Shard = tuple[int, list[Row]]
Done = Generator[tuple[int, Embedded], None, None]


class WorkLostError(Exception):
    """Shards cannot be embedded where they were to be; the message is one line."""


def embed_here(recipe: Recipe, processes: int, shards: Iterator[Shard]) -> Done:
    """Embed the shards and give each as it is done, in whatever order. No process has more than one shard at a time.

    Raises WorkLostError where a process ends by itself, BundleRefused or DeviceUnavailable where none can begin.
    """
    context = multiprocessing.get_context("spawn")
    crew: dict[Connection, BaseProcess] = {}
    try:
        for number in range(processes):
            ours, theirs = context.Pipe(duplex=True)
            crew[ours] = context.Process(target=work, args=(theirs, recipe), name=f"embed-{number}", daemon=True)
            start(crew[ours])
            theirs.close()
        yield from _hand_out(crew, shards)
    finally:
        for pipe, process in crew.items():
            pipe.close()  # which ends the process as soon as it asks for more
            process.kill()
            process.join()


def _hand_out(crew: dict[Connection, BaseProcess], shards: Iterator[Shard]) -> Done:
    under_way: dict[Connection, int | None] = dict.fromkeys(crew)  # None: it is opening the bundle
    while under_way:
        for pipe in wait(list(under_way)):
            assert isinstance(pipe, Connection)
            number = under_way.pop(pipe)
            answer = _hear(pipe, crew[pipe], number)
            shard = next(shards, None)
            if shard is not None:  # before what is done is given, so that nobody waits while it is written
                pipe.send(shard)
                under_way[pipe] = shard[0]
            if number is not None:
                yield number, answer


def _hear(pipe: Connection, process: BaseProcess, number: int | None) -> Embedded:
    try:
        answer: Embedded | Exception = pipe.recv()
    except (EOFError, OSError):
        process.join(1)
        where = "before it began" if number is None else f"at shard {number}"
        raise WorkLostError(f"a process ended by itself {where} (exit code {process.exitcode})") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def work(pipe: Connection, recipe: Recipe) -> None:
    """Be one of the processes, until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches every process; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            embedder = Embedder(recipe)
        except (BundleRefused, DeviceUnavailable) as error:
            pipe.send(error)
            return
        pipe.send(None)
        while True:
            _, rows = pipe.recv()
            pipe.send(embedder.embed(rows))
