"""An encoder at work: modality + session + manifest. Items in, checked embeddings out. No queue, no HTTP."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from app.core import modalities
from app.core.bundle import CPU, EXTERNAL_FILE, Bundle
from app.core.errors import BundleRefused, Internal, TwinserveError
from app.core.modalities.base import Array, Item, Limits, Modality, Prepared, Window
from app.core.scoring import pool
from app.runtime.runs import Run
from app.runtime.session import Device, open_session

LADDER = (32, 16, 8, 4, 2, 1)
"""Batch sizes that are ever run. Others are cut into these (5 = 4 + 1), so that shapes are few, and nothing is padded:
a padding row costs as much as a real one and could change its neighbours' rounding."""
UNIT_TOLERANCE = 1e-3
ENOUGH_S = 0.005
"""Of a run this long, planning and picking are a small part."""

Rows = npt.NDArray[np.float32]
Largest = int | Mapping[Hashable, int]
Cut = Callable[[Sequence[Window]], Iterable[Run]]


class Encoder:
    """A bundle ready to embed. Thread-safe.

    Raises BundleRefused for a bundle whose modality, graph or names do not fit together, DeviceUnavailable where the
    device is not to be had.
    """

    def __init__(self, bundle: Bundle, *, device: Device, threads: int, cuda_memory_mb: int | None = None) -> None:
        manifest = bundle.manifest
        self.bundle = bundle
        self.modality: Modality = modalities.create(manifest.modality.name, manifest.modality.params, bundle.assets)
        external = None if bundle.external_data is None else {EXTERNAL_FILE: bundle.external_data}
        self._session = open_session(
            bundle.graph,
            device=device,
            threads=threads,
            external_data=external,
            tf32=manifest.numerics.tf32,
            cuda_memory_mb=cuda_memory_mb,
        )
        # On one thread of a CPU its own time is told from that of its neighbours: workers that start side by side, and
        # whatever else the machine does just then, would otherwise make small batches of all that is served afterwards.
        self._clock = time.thread_time if threads == 1 and self.provider == CPU else time.perf_counter
        self._check_names()
        self._check_summary()

    @property
    def provider(self) -> str:
        """The execution provider in use, as ONNX Runtime names it and the golden tolerances do."""
        return self._session.provider

    def release_graph(self) -> None:
        """Let go of the bundle's copy of the graph: the session has its own."""
        self.bundle = replace(self.bundle, graph=b"", external_data=None)

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Decode and prepare one item; raises what the modality's `prepare` raises."""
        return self.modality.prepare(item, limits)

    def summarize(self, item: Prepared) -> Rows:
        """The mean of the modality's summaries of an item's windows, float32 (s,)."""
        if len(item.windows) == 1:
            return self.modality.summarize(item.windows[0])
        mean: Rows = np.mean([self.modality.summarize(window) for window in item.windows], axis=0, dtype=np.float32)
        return mean

    def encode(self, windows: Sequence[Window], *, largest: Largest = LADDER[0], cut: Cut | None = None) -> Rows:
        """Embed windows: float32 (len(windows), dimension), in the order given.

        Windows of one bucket are run together, in batches of LADDER sizes up to `largest`, for all buckets or by
        bucket; or in the runs into which `cut` puts them. Raises Internal if the graph gives anything but finite
        float32 rows, of unit length where the manifest says so.
        """
        rows = np.empty((len(windows), self.bundle.manifest.embedding.dimension), dtype=np.float32)
        for run in self._by_bucket(windows, largest) if cut is None else cut(windows):
            rows[run.places] = self._run([windows[place] for place in run.places], run.collate)
        return rows

    def _by_bucket(self, windows: Sequence[Window], largest: Largest) -> Iterator[Run]:
        buckets: defaultdict[Hashable, list[int]] = defaultdict(list)
        for place, window in enumerate(windows):
            buckets[self.modality.bucket(window)].append(place)
        for bucket, places in buckets.items():
            for batch in _cut(places, largest if isinstance(largest, int) else largest[bucket]):
                yield Run(batch, self.modality.collate)

    def embed_prepared(
        self, items: Sequence[Prepared], *, largest: Largest = LADDER[0], cut: Cut | None = None
    ) -> Rows:
        """Embed prepared items, each one's windows pooled: float32 (len(items), dimension), in the order given."""
        rows = self.encode([window for item in items for window in item.windows], largest=largest, cut=cut)
        if len(rows) == len(items):  # an item has at least one window
            return rows
        ends = np.cumsum([len(item.windows) for item in items])
        normalized = self.bundle.manifest.embedding.normalized
        pooled = [
            rows[end - 1] if len(item.windows) == 1 else pool(rows[end - len(item.windows) : end], normalized)
            for item, end in zip(items, ends, strict=True)
        ]
        return np.stack(pooled)

    def embed(self, items: Sequence[Item], limits: Limits) -> Rows:
        """Prepare and embed items, for offline use: float32 (len(items), dimension)."""
        return self.embed_prepared([self.prepare(item, limits) for item in items])

    def replay_golden(self) -> None:
        """Embed the golden items on the provider in use and compare with the vectors in the bundle.

        Raises BundleRefused if they differ by more than the provider's tolerance, or if there is none for it.
        """
        golden = self.bundle.golden
        tolerance = golden.tolerance.get(self.provider)
        if tolerance is None:
            raise BundleRefused(f"golden vectors: no tolerance for {self.provider}, so nothing vouches for it there")
        try:
            rows = self.embed(golden.items, Limits())
        except BundleRefused:
            raise
        except TwinserveError as error:
            raise BundleRefused(f"golden vectors: its items cannot be embedded: {error.detail}") from error
        difference = float(np.abs(rows - golden.served).max())
        if not difference <= tolerance:
            raise BundleRefused(
                f"golden vectors: not reproduced on {self.provider}: they differ by {difference:.3g}, "
                f"allowed is {tolerance:.3g}"
            )

    def warm(
        self, *, limit_s: float = math.inf, examples: Sequence[Window] | None = None
    ) -> dict[Hashable, dict[int, float]]:
        """Run ladder sizes on each bucket, or on those of `examples`, and return bucket -> size -> seconds.

        What counts is how long the largest size takes that is within `limit_s`. A start waits for these runs, so sizes
        above the first that takes longer are left out, and on CPU those that surely fit, by the time of a single item:
        there the first run of a shape takes no longer than any other. Elsewhere it picks kernels, so each size up to
        the limit is run before the service is ready. Raises BundleRefused if the graph does not run.
        """
        windows = self.modality.examples() if examples is None else examples
        return {self.modality.bucket(window): self._warm(window, limit_s) for window in windows}

    def _warm(self, window: Window, limit_s: float) -> dict[int, float]:
        taken = {1: self._time(window, 1, limit_s)}
        expected = {size: size * taken[1] for size in LADDER} if self.provider == CPU else taken
        likely = max((size for size, seconds in expected.items() if seconds <= limit_s), default=1)
        place = LADDER.index(likely)
        for size in LADDER[place::-1]:  # up from it
            if size not in taken:
                taken[size] = self._time(window, size, limit_s)
            if taken[size] > limit_s:
                break
        for size, above in zip(LADDER[place + 1 : -1], LADDER[place:], strict=False):  # down, where it was too large
            if taken[above] <= limit_s:
                break
            taken[size] = self._time(window, size, limit_s)
        return taken

    def _time(self, window: Window, size: int, limit_s: float) -> float:
        """The seconds of a batch. Where the first run took too long, or less than ENOUGH_S, of which planning is no
        small part, those of the better of two further ones.
        """
        windows = [window] * size
        try:
            first = self._seconds(windows)
            if ENOUGH_S <= first <= limit_s:
                return first
            return min(self._seconds(windows) for _ in range(2))
        except TwinserveError as error:
            raise BundleRefused(f"graph: a batch of {size} fails: {error.detail}") from error

    def _seconds(self, windows: Sequence[Window]) -> float:
        began = self._clock()
        self._run(windows, self.modality.collate)
        return self._clock() - began

    def _run(self, windows: Sequence[Window], collate: Callable[[Sequence[Window]], Mapping[str, Array]]) -> Rows:
        """Run one batch and check what comes out."""
        manifest = self.bundle.manifest
        try:
            rows = self._session.run(manifest.graph.output, collate(windows))
        except Exception as error:  # ONNX Runtime's own types; its text may quote shapes and paths
            raise Internal("the model could not be run on this input") from error
        shape = (len(windows), manifest.embedding.dimension)
        if rows.dtype != np.float32 or rows.shape != shape:
            raise Internal(f"the model gave {rows.dtype} {rows.shape} instead of float32 {shape}")
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        if not np.isfinite(squares).all():  # float64 holds the square of any float32
            raise Internal("the model gave numbers that are not finite for this input")
        if manifest.embedding.normalized and np.abs(np.sqrt(squares) - 1).max() > UNIT_TOLERANCE:
            raise Internal("the model gave a row that is not of unit length for this input")
        return rows

    def _check_names(self) -> None:
        """Inputs of manifest, graph and modality are the same, and the output exists."""
        graph = self.bundle.manifest.graph
        if set(graph.inputs) != set(self._session.inputs):
            own = ", ".join(self._session.inputs)
            raise BundleRefused(f"graph.inputs: the manifest says {', '.join(graph.inputs)}, the graph {own}")
        if graph.output not in self._session.outputs:
            raise BundleRefused(f"graph.output: the graph has no output {graph.output!r}")
        for window in self.modality.examples():
            if set(window) != set(graph.inputs):
                raise BundleRefused(
                    f"graph.inputs: the modality makes {', '.join(sorted(window))}, the graph takes "
                    f"{', '.join(sorted(graph.inputs))}"
                )

    def _check_summary(self) -> None:
        """The evidence on inputs is of the numbers that this modality gives."""
        calibration = self.bundle.calibration
        if calibration is None or calibration.input_applicability is None:
            return
        size = len(self.modality.summarize(self.modality.examples()[0]))
        if calibration.input_applicability.dimension != size:
            measured = calibration.input_applicability.dimension
            raise BundleRefused(f"calibration.json: input_applicability has {measured} dimensions, the inputs {size}")


def _cut(places: Sequence[int], largest: int) -> Iterator[list[int]]:
    """Cut places into pieces whose lengths are in LADDER and at most `largest`, the longest first."""
    start = 0
    for size in (size for size in LADDER if size <= largest):
        while len(places) - start >= size:
            yield list(places[start : start + size])
            start += size
