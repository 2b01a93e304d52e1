"""Runs in reused buffers give what plain runs give. The CPU stands in for the device."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from app.runtime.binding import BoundRuns
from tests.tiny import tiny_graph

SESSION = onnxruntime.InferenceSession(tiny_graph(), providers=["CPUExecutionProvider"])


class Counting:
    """ONNX Runtime, with its allocations on the device counted."""

    def __init__(self) -> None:
        self.made = 0
        self.OrtValue = self

    def ortvalue_from_shape_and_type(self, *arguments: Any) -> Any:
        self.made += 1
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(*arguments)


def pixels(count: int, seed: int) -> dict[str, npt.NDArray[np.uint8]]:
    return {"pixels": np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)}


def plain(feeds: dict[str, npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
    rows: npt.NDArray[np.float32] = SESSION.run(["vectors"], feeds)[0]
    return rows


def test_buffers_of_a_shape_are_made_once_and_rows_outlive_the_next_run() -> None:
    counting = Counting()
    bound = BoundRuns(counting, SESSION, "vectors", "cpu")
    feeds = [pixels(count, seed) for seed, count in enumerate((4, 1, 4, 1, 4))]
    rows = [bound.run(one) for one in feeds]
    for one, row in zip(feeds, rows, strict=True):
        np.testing.assert_array_equal(row, plain(one))
    assert counting.made == 4  # an input and an output, for each of two shapes


def test_arrays_that_are_not_contiguous_are_taken() -> None:
    feeds = {"pixels": pixels(6, 1)["pixels"][::2]}
    np.testing.assert_array_equal(BoundRuns(onnxruntime, SESSION, "vectors", "cpu").run(feeds), plain(feeds))


def test_runs_side_by_side_share_no_buffer() -> None:
    bound, together = BoundRuns(onnxruntime, SESSION, "vectors", "cpu"), threading.Barrier(4)

    def run(seed: int) -> bool:
        together.wait(30)
        feeds = pixels(8, seed)
        return all(bool((bound.run(feeds) == plain(feeds)).all()) for _ in range(200))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(4)))


def test_a_failed_run_leaves_the_next_one_right() -> None:
    bound = BoundRuns(onnxruntime, SESSION, "vectors", "cpu")
    with pytest.raises(Exception, match="pixels"):
        bound.run({"pixels": np.zeros((1, 9, 8, 1), dtype=np.uint8)})
    np.testing.assert_array_equal(bound.run(pixels(1, 1)), plain(pixels(1, 1)))
