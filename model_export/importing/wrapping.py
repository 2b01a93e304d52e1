"""An imported graph inside one that takes what a modality makes and gives `vectors`: cast, flip, lay out and scale; the
graph itself, looped where its batch axis is fixed; pool; unit length.

Only operators that are the same from opset 13 on, or are written for the graph's own opset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.core.modalities.base import Window
from model_export.graphs import OUTPUT, fits_inline, graphs_of
from model_export.importing.foreign import MASKS, Feed
from model_export.importing.onnx_spec import Graph, Pixels

PREFIX = "twinserve/"
"""Begins every name that is made here."""
FLOOR = 1e-24
"""Least sum of squares that is divided by; a vector of zeros stays one, and is refused when it is served."""

MANY = 1 << 30
"""More axes than any array has: the end of a slice that goes to the end."""


class Nodes:
    """Nodes and constants in the order made; each `add` returns the name of its output. All begin with `prefix`."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node of one output."""
        output = f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """A value that the graph holds."""
        name = f"{self._prefix}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        """Axes, sizes or places, int64 (n,)."""
        return self.constant(values, np.int64)


def wrap(
    model: onnx.ModelProto,
    spec: Graph,
    feeds: Sequence[Feed],
    output: str,
    *,
    examples: Sequence[Window],
    loop: int | None,
) -> onnx.ModelProto:
    """The bundle's graph: inputs as the modality's arrays, batch first, and OUTPUT float32 (batch, d).

    `loop` is the batch size that the imported graph takes, None where it takes any; `examples` hold a window of each
    length. `model` is changed.
    """
    names = {feed.name: f"{PREFIX}input/{feed.name}" for feed in feeds}
    output = _rename(model, names | _clashes(model, [*examples[0], OUTPUT], names)).get(output, output)
    made = Nodes()
    ready = {names[feed.name]: _prepare(made, feed, spec) for feed in feeds}
    if loop is None:
        made.nodes += [helper.make_node("Identity", [value], [name]) for name, value in ready.items()]
        made.nodes += model.graph.node
        made.constants += model.graph.initializer
        given = output
    else:
        body = model.graph
        if not fits_inline(model):  # ONNX Runtime reads external weights of the outermost graph only
            made.constants += body.initializer
            del body.initializer[:]
        given = _loop(made, body, ready, output, loop)
    given = _pool(made, given, spec.pooling, next((name for name in MASKS if name in examples[0]), None))
    if spec.normalise:
        given = to_unit_length(made, given)
    made.nodes.append(helper.make_node("Identity", [given], [OUTPUT]))
    graph = helper.make_graph(made.nodes, "imported", _inputs(examples), [_output()], made.constants)
    if loop is None:
        graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return helper.make_model(
        graph, ir_version=model.ir_version, opset_imports=model.opset_import, functions=model.functions
    )


def _prepare(made: Nodes, feed: Feed, spec: Graph) -> str:
    """What foreign.prepare does, in the graph."""
    value = feed.array
    kind = _kind(feed.dtype)
    if spec.pixels is not None:
        return made.add("Cast", _scale(made, value, spec.pixels, feed), to=kind)
    if spec.layout == "nct" and len(feed.dims) == 3:
        value = made.add("Transpose", value, perm=[0, 2, 1])
    return made.add("Cast", value, to=kind)


def _scale(made: Nodes, value: str, spec: Pixels, feed: Feed) -> str:
    if spec.channels == "bgr":
        value = made.add("Gather", value, made.ints(2, 1, 0), axis=3)
    if feed.dtype.kind == "f":
        value = made.add("Cast", value, to=TensorProto.FLOAT)
        value = made.add("Sub", value, made.constant(spec.mean, np.float32))
        value = made.add("Div", value, made.constant(spec.scale, np.float32))
    return made.add("Transpose", value, perm=[0, 3, 1, 2]) if spec.layout == "nchw" else value


def _loop(made: Nodes, body: onnx.GraphProto, ready: Mapping[str, str], output: str, size: int) -> str:
    """Run the body on blocks of `size` items, one block after the other; the last one is filled up with zeros.

    A Scan: its body takes what the imported graph takes, and each block's result is stacked.
    """
    total = made.add("Slice", made.add("Shape", next(iter(ready.values()))), made.ints(0), made.ints(1))
    n = made.ints(size)
    short = made.add("Mod", made.add("Sub", n, made.add("Mod", total, n)), n)
    blocks = []
    for name, value in ready.items():
        kind = next(one.type.tensor_type.elem_type for one in body.input if one.name == name)
        tail = made.add("Slice", made.add("Shape", value), made.ints(1), made.ints(MANY))
        zero = made.constant(0, helper.tensor_dtype_to_np_dtype(kind))
        filler = made.add("Expand", zero, made.add("Concat", short, tail, axis=0))
        filled = made.add("Concat", value, filler, axis=0)
        blocks.append(made.add("Reshape", filled, made.add("Concat", made.ints(-1), n, tail, axis=0)))
    inner = helper.make_graph(
        list(body.node),
        "body",
        [next(one for one in body.input if one.name == name) for name in ready],
        [next(one for one in body.output if one.name == output)],
        list(body.initializer),
    )
    inner.sparse_initializer.extend(body.sparse_initializer)
    stacked = made.add("Scan", *blocks, body=inner, num_scan_inputs=len(blocks))
    tail = made.add("Slice", made.add("Shape", stacked), made.ints(2), made.ints(MANY))
    rows = made.add("Reshape", stacked, made.add("Concat", made.ints(-1), tail, axis=0))
    return made.add("Slice", rows, made.ints(0), total, made.ints(0))


def _pool(made: Nodes, value: str, pooling: str, mask: str | None) -> str:
    """float32 (batch, d) of what the imported graph gives."""
    value = made.add("Cast", value, to=TensorProto.FLOAT)
    if pooling == "none":
        return made.add("Flatten", value, axis=1)
    if pooling == "first":
        return made.add("Gather", value, made.constant(0, np.int64), axis=1)
    if mask is None:
        steps = made.add("Slice", made.add("Shape", value), made.ints(1), made.ints(2))
        count = made.add("Cast", steps, to=TensorProto.FLOAT)
        return made.add("Div", made.add("ReduceSum", value, made.ints(1), keepdims=0), count)
    real = made.add("Cast", mask, to=TensorProto.FLOAT)
    marked = made.add("Mul", value, made.add("Unsqueeze", real, made.ints(2)))
    count = made.add("ReduceSum", real, made.ints(1), keepdims=1)
    return made.add("Div", made.add("ReduceSum", marked, made.ints(1), keepdims=0), count)


def to_unit_length(made: Nodes, value: str) -> str:
    """Rows (batch, d) scaled to length 1."""
    squares = made.add("ReduceSum", made.add("Mul", value, value), made.ints(1), keepdims=1)
    kept = made.add("Max", squares, made.constant(FLOOR, np.float32))
    return made.add("Div", value, made.add("Sqrt", kept))


def _inputs(examples: Sequence[Window]) -> list[onnx.ValueInfoProto]:
    """The modality's arrays, batch first; the axis along which they differ in length is free."""
    return [
        helper.make_tensor_value_info(name, _kind(array.dtype), ["batch", *_axes(name, examples)])
        for name, array in examples[0].items()
    ]


def _kind(dtype: np.dtype[Any]) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def _axes(name: str, examples: Sequence[Window]) -> list[int | str]:
    shapes = {window[name].shape for window in examples}
    first: tuple[int, ...] = examples[0][name].shape
    return list(first) if len(shapes) == 1 else ["length", *first[1:]]


def _output() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", None])


def _clashes(model: onnx.ModelProto, taken: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """New names for the graph's values that are called like one of `taken`, or like what is made here."""
    found = {name for graph in graphs_of(model) for node in graph.node for name in (*node.input, *node.output)}
    found |= {tensor.name for graph in graphs_of(model) for tensor in graph.initializer}
    return {
        name: f"{PREFIX}inner/{name}"
        for name in found
        if name not in known and (name in taken or name.startswith(PREFIX))
    }


def _rename(model: onnx.ModelProto, names: Mapping[str, str]) -> Mapping[str, str]:
    """Rename values wherever they occur, inner graphs included, where onnx.compose forgets the outer weights."""
    for graph in graphs_of(model):
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            named.name = names.get(named.name, named.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    return names
