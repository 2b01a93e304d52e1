"""One measuring process: does a worker's work on a bundle, over and over, without a queue and without HTTP."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from app.core.bundle import Bundle
from app.core.errors import BundleRefused
from app.core.modalities.base import Limits
from app.core.observe import NullObserver
from app.runtime import padding
from app.runtime.encoder import Encoder
from app.runtime.engine import Engine
from app.runtime.runs import Speed, Trimming
from app.tuning.choice import MOST_MS

BATCH_S = MOST_MS / 1000
"""No batch that may be chosen takes longer, so that padding is cut as a start with the default setting cuts it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a process opened: the buckets of each bundle by name, and why others were refused."""

    buckets: dict[str, tuple[str, ...]]
    refused: dict[str, str]


@dataclass(frozen=True, slots=True)
class Round:
    """What to go round with for `seconds`: batches of the bundle's golden items, or of its example of one bucket."""

    key: str
    batch: int
    seconds: float
    bucket: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How many batches were run, in how many seconds."""

    batches: int
    seconds: float


def measure(pipe: Connection, bundles: Sequence[Bundle], threads: int) -> None:
    """Be a measuring process until the other end of the pipe is closed. The first function that runs in its process.

    Each Round is answered by True once everything is warm, and by a Pace some time after the word to begin.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches every process; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    logging.getLogger(padding.__name__).setLevel(logging.ERROR)  # each start of the service tells whose stays, once
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        engines, opened = _open(bundles, threads)
        gc.collect()
        gc.freeze()  # as a worker does
        pipe.send(opened)
        while True:
            asked: Round = pipe.recv()
            _go_round(engines[asked.key], asked, pipe)


def _open(bundles: Sequence[Bundle], threads: int) -> tuple[dict[str, Engine], Opened]:
    opened = Opened({}, {})
    engines = {}
    for bundle in bundles:
        try:
            encoder = Encoder(bundle, device="cpu", threads=threads)
            encoder.replay_golden()
            trimming = _trimming(encoder)
        except BundleRefused as error:
            opened.refused[bundle.key] = error.detail
            continue
        engines[bundle.key] = Engine(bundle, encoder, Limits(), {}, math.inf, NullObserver(), trimming)
        modality = encoder.modality
        opened.buckets[bundle.key] = tuple(str(modality.bucket(window)) for window in modality.examples())
    return engines, opened


def _trimming(encoder: Encoder) -> Trimming | None:
    """How the service would cut the padding of this model, found out as its start does."""
    modality = padding.trimmable(encoder)
    return None if modality is None else padding.serving_trimming(modality, encoder.warm(limit_s=BATCH_S), BATCH_S)


def _go_round(engine: Engine, asked: Round, pipe: Connection) -> None:
    """Measure for the asked time, and go on until told to stop, so that no process is measured beside idle ones."""
    step = _step(engine, asked)
    for _ in range(math.ceil(len(engine.bundle.golden.items) / asked.batch)):
        step()  # the first run of a shape plans memory and picks kernels
    pipe.send(True)
    pipe.recv()
    batches, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < asked.seconds or not batches:
        step()
        batches += 1
    pipe.send(Pace(batches, passed))
    while not pipe.poll():
        step()
    pipe.recv()


def _step(engine: Engine, asked: Round) -> Callable[[], object]:
    """One batch of the round, prepared anew each time where it is of items."""
    if asked.bucket is not None:
        windows = [engine.encoder.modality.examples()[asked.bucket]] * asked.batch
        return lambda: engine.encoder.encode(windows, largest=asked.batch)
    modality, items = engine.encoder.modality, itertools.cycle(engine.bundle.golden.items)
    whole = replace(engine, speeds={modality.bucket(one): Speed(asked.batch, 0.0) for one in modality.examples()})
    return lambda: whole.run(list(itertools.islice(items, asked.batch)))
