"""The bound: the service's work without HTTP, done by plain processes. Parse, base64, decode, prepare, run, score.

The kernel's own functions prepare and score; the graph is run by ONNX Runtime directly. Nothing is queued, judged or
written. A crew of processes each holds `hand` requests at once and batches only the items of those, so that at C
connections a layout with processes * hand <= C knows no more than a service can know.
"""

from __future__ import annotations

import binascii
import itertools
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jiter
import numpy as np
import numpy.typing as npt
import onnxruntime

from app.core import modalities
from app.core.bundle import read_bundle
from app.core.modalities.base import Item, Limits, Window
from app.core.scoring import similarity
from benchmarks.layouts import Layout

Values = npt.NDArray[np.float32]
"""What one request gives: scores (pairs,), or embeddings (inputs, dimension)."""


class Work:
    """One bundle, ready to do the work of requests in this process, with `threads` inside each inference."""

    def __init__(self, folder: Path, threads: int) -> None:
        bundle = read_bundle(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._modality = modalities.create(
            bundle.manifest.modality.name, bundle.manifest.modality.params, bundle.assets
        )
        self._session = onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])
        self._output = bundle.manifest.graph.output
        self._embedding = bundle.manifest.embedding

    def answer(self, bodies: Sequence[bytes], cap: int, trim: bool) -> list[Values]:
        """Answer requests that are in hand together, in batches of at most `cap` items of one bucket.

        `trim` cuts padding to the longest of the batch, which the service's warmed shapes do not.
        """
        parsed = [jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True) for body in bodies]
        items = [_items(body) for body in parsed]
        windows = [self._prepare(item) for item in itertools.chain.from_iterable(items)]
        rows = self._embed(windows, cap, trim)
        ends = np.cumsum([len(some) for some in items])
        return [
            rows[end - len(some) : end] if "inputs" in body else self._scores(rows[end - len(some) : end])
            for body, some, end in zip(parsed, items, ends, strict=True)
        ]

    def _prepare(self, item: Item) -> Window:
        if "base64" in item:
            item = {"bytes": binascii.a2b_base64(item["base64"], strict_mode=True)}
        [window] = self._modality.prepare(item, Limits()).windows
        return window

    def _embed(self, windows: Sequence[Window], cap: int, trim: bool) -> Values:
        rows = np.empty((len(windows), self._embedding.dimension), dtype=np.float32)
        buckets: defaultdict[Hashable, list[int]] = defaultdict(list)
        for place, window in enumerate(windows):
            buckets[self._modality.bucket(window)].append(place)
        for places in buckets.values():
            if trim:
                places.sort(key=lambda place: _length(windows[place]))
            for start in range(0, len(places), cap):
                batch = places[start : start + cap]
                rows[batch] = self._run([windows[place] for place in batch], trim)
        return rows

    def _run(self, windows: Sequence[Window], trim: bool) -> Any:
        feeds = self._modality.collate(windows)
        if trim:
            longest = max(map(_length, windows))
            feeds = {name: np.ascontiguousarray(array[:, :longest]) for name, array in feeds.items()}
        return self._session.run([self._output], feeds)[0]

    def _scores(self, rows: Values) -> Values:
        pairs = zip(rows[::2], rows[1::2], strict=True)
        return np.array([similarity(a, b, self._embedding.metric) for a, b in pairs], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one process of a crew did: requests, the seconds of each hand, and its CPU seconds."""

    requests: int
    hands_s: list[float]
    cpu_s: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / sum(self.hands_s)


class Crew:
    """Processes that do the work side by side, each with `threads` inside an inference. Use as a context manager."""

    def __init__(self, folder: Path, bodies: Sequence[bytes], processes: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            first = number * len(bodies) // processes
            turned = [*bodies[first:], *bodies[:first]]
            process = context.Process(target=_labour, args=(theirs, folder, turned, threads), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.close()  # which ends the process
            process.join()

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [process.pid for process in self._processes if process.pid is not None]

    def work(self, layout: Layout, seconds: float) -> list[Turn]:
        """Work for so long with the layout's hand, cap and trim; one turn a process."""
        for pipe in self._pipes:
            pipe.send((layout, seconds))
        return [pipe.recv() for pipe in self._pipes]

    def answers(self, layout: Layout) -> list[Values]:
        """What the work gives for each request, in order, done by the first process with the layout's hand and cap."""
        self._pipes[0].send((layout, None))
        answers: list[Values] = self._pipes[0].recv()
        return answers


def _labour(pipe: Connection, folder: Path, bodies: Sequence[bytes], threads: int) -> None:
    work = Work(folder, threads)
    pipe.send(None)
    hands: dict[int, itertools.cycle[list[bytes]]] = {}
    seen: set[Layout] = set()
    while True:
        try:
            layout, seconds = pipe.recv()
        except EOFError:
            return
        if seconds is None:
            pipe.send(_answers(work, bodies, layout))
            continue
        if layout.hand not in hands:
            hands[layout.hand] = itertools.cycle(_deal(bodies, layout.hand))
        if layout not in seen:
            work.answer(next(hands[layout.hand]), layout.cap, layout.trim)  # the first run of a shape plans its memory
            seen.add(layout)
        pipe.send(_turn(work, hands[layout.hand], layout, seconds))


def _deal(bodies: Sequence[bytes], hand: int) -> list[list[bytes]]:
    """The bodies in hands of so many, each body in as many hands as any other."""
    turned = itertools.cycle(bodies)
    count = len(bodies) // np.gcd(len(bodies), hand)
    return [[next(turned) for _ in range(hand)] for _ in range(count)]


def _turn(work: Work, hands: itertools.cycle[list[bytes]], layout: Layout, seconds: float) -> Turn:
    taken: list[float] = []
    cpu = time.process_time()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work.answer(next(hands), layout.cap, layout.trim)
        taken.append(time.perf_counter() - began)
    return Turn(len(taken) * layout.hand, taken, time.process_time() - cpu)


def _answers(work: Work, bodies: Sequence[bytes], layout: Layout) -> list[Values]:
    hands = [bodies[start : start + layout.hand] for start in range(0, len(bodies), layout.hand)]
    return [values for hand in hands for values in work.answer(hand, layout.cap, layout.trim)]


def _items(body: Any) -> list[Item]:
    if "inputs" in body:
        return list(body["inputs"])
    return [item for pair in body.get("pairs", (body,)) for item in (pair["a"], pair["b"])]


def _length(window: Window) -> int:
    return len(next(iter(window.values())))
