"""Runs of a graph in buffers on a device, used again and again. Is given ONNX Runtime, never imports it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Of each input: name, type and shape."""


@dataclass(frozen=True, slots=True, eq=False)
class _Buffers:
    """ONNX Runtime's binding, and what is bound: tensors on the device."""

    binding: Any
    inputs: Mapping[str, Any]
    output: Any


class BoundRuns:
    """Runs one output of a session with inputs and output bound to tensors on `device`. Thread-safe.

    Buffers are kept by the shapes of the inputs, of which a service knows few (its ladder of batches, times its
    buckets), and there are as many of each as ever ran at once: runs side by side never share any.
    """

    def __init__(self, ort: Any, session: Any, output: str, device: str) -> None:
        self._ort, self._session, self._device = ort, session, device
        [node] = [node for node in session.get_outputs() if node.name == output]
        self._output, self._width = output, node.shape[1]
        self._free: defaultdict[Shape, list[_Buffers]] = defaultdict(list)

    @property
    def fits(self) -> bool:
        """Whether the graph declares how long its rows are, without which nothing can be set aside for them."""
        return isinstance(self._width, int)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Run on arrays with a leading batch axis: float32 (batch, width), a copy."""
        shape = tuple((name, array.dtype.str, array.shape) for name, array in feeds.items())
        free = self._free[shape]
        try:
            buffers = free.pop()
        except IndexError:
            buffers = self._make(feeds)
        for name, array in feeds.items():
            buffers.inputs[name].update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(buffers.binding)
        rows: npt.NDArray[np.float32] = np.array(buffers.output.numpy())
        free.append(buffers)  # not after a failed run, whose buffers go with it
        return rows

    def _make(self, feeds: Mapping[str, npt.NDArray[Any]]) -> _Buffers:
        make = self._ort.OrtValue.ortvalue_from_shape_and_type
        inputs = {name: make(list(array.shape), array.dtype, self._device, 0) for name, array in feeds.items()}
        batch = len(next(iter(feeds.values())))
        output = make([batch, self._width], np.float32, self._device, 0)
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(self._output, output)
        return _Buffers(binding, inputs, output)
