"""An ONNX file as its owner made it: checked against a spec, and run one item at a time by numpy's preparation.

What comes out is the original that the bundle's graph is compared with, so nothing here is shared with wrapping.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from app.core.bundle import EXTERNAL_FILE
from app.core.errors import TwinserveError
from app.core.modalities.base import Array, Window
from app.runtime.session import Session, first_line, open_session
from model_export.errors import CommandError
from model_export.graphs import serialise
from model_export.importing.onnx_spec import Graph, Pixels

MASKS = ("mask", "attention_mask")
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Feed:
    """One input of the file's graph: `array` is what the modality makes for it, `dtype` what the graph takes.

    `dims` are the graph's own, batch first; None where any size is taken.
    """

    array: str
    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | None, ...]


def match_inputs(model: onnx.ModelProto, spec: Graph, arrays: Sequence[str]) -> tuple[Feed, ...]:
    """Which of the modality's arrays goes to which input of the graph.

    Raises CommandError where one is not fed, is fed by nothing that there is, or has no batch axis. A mask may go
    unused: publishing finds out whether the graph reads the padding.
    """
    own = {value.name: value for value in model.graph.input}
    if not own:
        raise CommandError("the file's graph takes nothing")
    chosen = {array: spec.inputs.get(array, array) for array in arrays if array in own or array in spec.inputs}
    rest = [array for array in arrays if array not in chosen and array not in MASKS]
    if len(own) == 1 and not chosen and len(rest) == 1:
        chosen = {rest[0]: next(iter(own))}
    if strange := sorted(set(spec.inputs) - set(arrays)):
        raise CommandError(f"graph.inputs: the modality makes {', '.join(arrays)}, but no {strange[0]!r}")
    if missing := sorted(set(chosen.values()) - set(own)):
        raise CommandError(f"graph.inputs: the file has no input {missing[0]!r}; it has {', '.join(own) or 'none'}")
    if unfed := [name for name in own if name not in chosen.values()]:
        raise CommandError(f"graph.inputs: nothing feeds the file's input {unfed[0]!r}")
    if unread := [array for array in arrays if array not in chosen and array not in MASKS]:
        raise CommandError(f"graph.inputs: nothing takes the modality's {unread[0]!r}")
    return tuple(_feed(array, own[name]) for array, name in chosen.items())


def fixed_batch(feeds: Sequence[Feed]) -> int | None:
    """The size of the only batch that the graph takes; None where it takes any. Raises CommandError for two sizes."""
    sizes = {feed.dims[0] for feed in feeds}
    if len(sizes) > 1:
        raise CommandError("the file's inputs have batch axes of different sizes")
    return sizes.pop()


def output_of(model: onnx.ModelProto, spec: Graph) -> str:
    """The output's name. Raises CommandError where it is not there, left out though there are several, or no vector."""
    own = [value.name for value in model.graph.output]
    if spec.output is None and len(own) != 1:
        raise CommandError(f"graph.output: the file has {len(own)} outputs, name one of {', '.join(own)}")
    name = spec.output or own[0]
    if name not in own:
        raise CommandError(f"graph.output: the file has no output {name!r}; it has {', '.join(own)}")
    if model.graph.output[own.index(name)].type.tensor_type.elem_type not in FLOATS:
        raise CommandError(f"graph.output: the file's output {name!r} gives no floating-point numbers, so no vector")
    return name


def open_original(model: onnx.ModelProto) -> Session:
    """The file's own graph, opened. Raises BundleRefused for what ONNX Runtime does not take."""
    graph, external = serialise(_copy(model))
    weights = None if external is None else {EXTERNAL_FILE: external}
    return open_session(graph, device="cpu", threads=1, external_data=weights)


class Original:
    """The file's own graph on one item at a time: float32 (d,), pooled and of unit length where the spec says so.

    Raises CommandError where the graph does not take what the modality makes, or gives no vector for an item.
    """

    def __init__(self, session: Session, spec: Graph, feeds: Sequence[Feed], output: str) -> None:
        self._session, self._spec, self._feeds, self._output = session, spec, feeds, output
        self._batch = fixed_batch(feeds)
        self._dimension: int | None = None

    def embed(self, windows: Sequence[Mapping[str, Array]]) -> Rows:
        """Embed windows that come padded to a length that the graph takes: float32 (n, d)."""
        return np.stack([self._embed_one(window) for window in windows])

    def give(self, windows: Sequence[Mapping[str, Array]]) -> Array:
        """What the graph gives for these windows as one batch, neither pooled nor scaled; one alone fills its batch."""
        rows = [windows[0]] * (self._batch or 1) if len(windows) == 1 else windows
        feeds = {}
        for feed in self._feeds:
            array = np.stack([prepare(window[feed.array], feed, self._spec) for window in rows])
            _check_shape(feed, array)
            feeds[feed.name] = array
        try:
            with _silent():
                return self._session.run(self._output, feeds)
        except TwinserveError:
            raise
        except Exception as error:  # ONNX Runtime's own types
            raise CommandError(
                f"the file's graph does not run on what the modality makes: {first_line(error)}"
            ) from error

    def _embed_one(self, window: Mapping[str, Array]) -> Rows:
        given = self.give([window])[0].astype(np.float64)
        mask = next((window[name] for name in MASKS if name in window), None)
        vector = _pool(given, mask, self._spec.pooling)
        self._dimension = self._dimension or len(vector)
        if len(vector) != self._dimension:
            sizes = f"{self._dimension} numbers, then {len(vector)}"
            raise CommandError(f"the file's output has another size for another item ({sizes}), so it is no embedding")
        if self._spec.normalise:
            if not (length := np.linalg.norm(vector)) > 0:
                raise CommandError("the file's graph gives zeros or no numbers for an item, which have no direction")
            vector = vector / length
        return vector.astype(np.float32)


def prepare(array: Array, feed: Feed, spec: Graph) -> Array:
    """One item's array as the graph takes it: laid out, scaled, of its dtype."""
    if spec.pixels is not None:
        array = _scale(array, spec.pixels, feed)
    elif array.ndim == 2 and spec.layout == "nct":
        array = array.T
    return np.ascontiguousarray(array.astype(feed.dtype))


def _scale(pixels: Array, spec: Pixels, feed: Feed) -> Array:
    if spec.channels == "bgr":
        pixels = pixels[..., ::-1]
    if feed.dtype.kind == "f":
        mean, scale = np.asarray(spec.mean, np.float32), np.asarray(spec.scale, np.float32)
        pixels = (pixels.astype(np.float32) - mean) / scale
    return pixels.transpose(2, 0, 1) if spec.layout == "nchw" else pixels


def _pool(given: npt.NDArray[np.float64], mask: Array | None, pooling: str) -> npt.NDArray[np.float64]:
    """One vector (d,) of what the graph gives for one item."""
    if pooling == "none":
        if given.size != max(given.shape, default=0):
            raise CommandError(f"graph.pooling: the output is {_shape(given.shape)} for an item; name mean or first")
        return given.reshape(-1)
    if given.ndim != 2:
        raise CommandError(f"graph.pooling: {pooling} needs steps x d for an item, the output is {_shape(given.shape)}")
    if pooling == "first":
        return np.asarray(given[0])
    if mask is not None and len(mask) != len(given):
        raise CommandError(
            f"graph.pooling: the output has {len(given)} steps and the mask {len(mask)}, so mean does not fit"
        )
    real = given if mask is None else given[mask.astype(bool)]
    return np.asarray(real.mean(axis=0))


def _feed(array: str, value: onnx.ValueInfoProto) -> Feed:
    tensor = value.type.tensor_type
    if tensor.elem_type == TensorProto.STRING:
        raise CommandError(f"the file's input {value.name!r} takes strings, which no modality makes")
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise CommandError(f"the file's input {value.name!r} declares no axes")
    dims = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Feed(array, value.name, np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)), dims)


def _check_shape(feed: Feed, array: Array) -> None:
    fits = len(array.shape) == len(feed.dims) and all(
        want in (None, have) for have, want in zip(array.shape[1:], feed.dims[1:], strict=True)
    )
    if not fits:
        takes = _shape(tuple("any" if dim is None else dim for dim in feed.dims[1:]))
        raise CommandError(
            f"the file's input {feed.name!r} takes {takes} for an item; modality.params and the layout make "
            f"{_shape(array.shape[1:])}"
        )


def _shape(dims: Sequence[object]) -> str:
    return " x ".join(map(str, dims)) or "one number"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep ONNX Runtime's own lines off stderr: a graph that fails here is told in one line, or is looped."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def padded(windows: Sequence[Window], collate: Any) -> list[dict[str, Array]]:
    """Each window as it reaches the graph: padded to its bucket, without the batch axis."""
    return [{name: rows[0] for name, rows in collate([window]).items()} for window in windows]
