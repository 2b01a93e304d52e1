"""The bound: the service's work without HTTP. Parse, base64, decode, prepare, run, score; crew.py has its processes.

The kernel's own functions prepare and score; the graph is run by ONNX Runtime directly. Nothing is queued, judged or
written.
"""

from __future__ import annotations

import binascii
import itertools
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import jiter
import numpy as np
import numpy.typing as npt
import onnxruntime

from app.core import modalities
from app.core.bundle import read_bundle
from app.core.modalities.base import Item, Limits, Ragged, Window
from app.core.scoring import similarity

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

        `trim` cuts padding to the longest of the batch, as the service does where a graph was shown to allow it.
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

    def shares(self, body: bytes) -> tuple[float, float]:
        """CPU seconds to prepare the items of one request, and to run them, in one batch a bucket, trimmed where the
        modality can, as the service does on CPU.
        """
        items = _items(jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True))
        began = time.thread_time()
        windows = [window for item in items for window in self._windows(item)]
        prepared = time.thread_time()
        self._embed(windows, len(windows), trim=isinstance(self._modality, Ragged))
        return prepared - began, time.thread_time() - prepared

    def _prepare(self, item: Item) -> Window:
        [window] = self._windows(item)
        return window

    def _windows(self, item: Item) -> tuple[Window, ...]:
        if "base64" in item:
            item = {"bytes": binascii.a2b_base64(item["base64"], strict_mode=True)}
        return self._modality.prepare(item, Limits()).windows

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


def _items(body: Any) -> list[Item]:
    if "inputs" in body:
        return list(body["inputs"])
    return [item for pair in body.get("pairs", (body,)) for item in (pair["a"], pair["b"])]


def _length(window: Window) -> int:
    return len(next(iter(window.values())))
