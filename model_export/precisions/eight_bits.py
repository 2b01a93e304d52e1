"""8-bit graphs by onnxruntime.quantization: static QDQ for convolutions, dynamic for products of matrices, and of gated
units the weights alone.

Static: the ranges of activations are measured once, on training items. Dynamic: they are found anew in each run, over
the whole batch, so that an item's vector depends a little on its neighbours; the guard band measures by how much.
Recurrent: ONNX Runtime has no 8-bit GRU, and rounding the products around it made nothing faster while the guard band
of heartbeat-gru rose to 0.07; so the weights are stored in 8 bits, and calculated with in float32.

Weights that are multiplied in 8 bits keep seven of them (`reduce_range`). Processors without VNNI add pairs of products
in 16 bits, which full 8-bit weights overflow: on an AVX2 machine the cosine with float32 fell to 0.36 (heartbeat) where
seven bits keep 0.999. With them the sums are exact everywhere, so that evidence measured on one processor holds on
another.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.core.modalities.base import Array
from model_export.errors import CommandError
from model_export.graphs import one_line, strip_metadata
from model_export.precisions.weights_last import put_weights_last

Feeds = Mapping[str, Array]

STATIC_OPERATORS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]
"""Left in float32: what scales the inputs, masks, pools and normalises."""
DYNAMIC_OPERATORS = ["MatMul", "Gather"]
"""Gemm is split into MatMul and Add by the library; Gather is the table of token embeddings."""
WEIGHT_PLACES = {"Conv": (1,), "Gemm": (1,), "MatMul": (1,), "GRU": (1, 2), "LSTM": (1, 2), "Gather": (0,)}
LEAST_SHARE = 0.1
"""Share of the multiplied weights from which a graph is called convolutional, or recurrent. A vision transformer, whose
one convolution cuts out patches, has about a hundredth there; the small convolutional encoder two fifths."""

Method = Literal["static", "dynamic", "weights"]


def to_int8(graph: bytes, feeds: Callable[[], Sequence[Feeds]]) -> tuple[bytes, Method]:
    """The graph with 8-bit weights, and how it was made; the same graph and feeds give the same bytes.

    `feeds` show the ranges of activations, and are asked for where the method is static. Raises CommandError
    where nothing in the graph could be rounded, or the library cannot take it.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the library recommends there what is done below
    try:
        with tempfile.TemporaryDirectory() as folder:
            model, method = _quantise(graph, feeds, Path(folder))
    except CommandError:
        raise
    except Exception as error:  # the library raises almost any type
        raise CommandError(f"onnxruntime.quantization cannot take this graph: {one_line(error)}") from error
    finally:
        root.setLevel(level)
    if not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer):
        raise CommandError("int8: the graph has no learned weights that could be rounded")
    used = {node.domain for node in model.graph.node}
    for one in [one for one in model.opset_import if one.domain not in used]:
        model.opset_import.remove(one)  # the library's optimiser names every domain that it knows
    result: bytes = strip_metadata(model).SerializeToString(deterministic=True)
    return result, method


def _quantise(graph: bytes, feeds: Callable[[], Sequence[Feeds]], folder: Path) -> tuple[onnx.ModelProto, Method]:
    given, ready, made = (folder / f"{name}.onnx" for name in ("given", "ready", "made"))
    turned = onnx.load_from_string(graph)
    put_weights_last(turned)
    onnx.save(turned, given)
    quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)  # folds constants and batch norms
    model = onnx.load(ready)
    # Sums written as convolutions with ones level and average the inputs: they are scaling, and not learned.
    excluded = [node.name for node in model.graph.node if node.op_type in WEIGHT_PLACES and not _learned(model, node)]
    method = _method(model)
    if method == "static":
        quantize_static(
            str(ready),
            str(made),
            _Reader(feeds()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=STATIC_OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            calibrate_method=CalibrationMethod.MinMax,
        )
    else:
        quantize_dynamic(
            str(ready),
            str(made),
            op_types_to_quantize=DYNAMIC_OPERATORS if method == "dynamic" else ["Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
        )
    model = onnx.load(made)
    if method == "weights":
        _round_weights(model, set(excluded))
    return model, method


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Feeds one by one, as the library asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def _method(model: onnx.ModelProto) -> Method:
    sizes: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type != "Gather" and _learned(model, node):
            sizes[node.op_type] += sum(weight.size for weight in _weights(model, node))
    if sizes["GRU"] + sizes["LSTM"] > LEAST_SHARE * sizes.total():
        return "weights"
    return "static" if sizes["Conv"] > LEAST_SHARE * sizes.total() else "dynamic"


def _learned(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether the node has weights, and these are not all one number."""
    weights = list(_weights(model, node))
    return bool(weights) and all(weight.size and weight.min() != weight.max() for weight in weights)


def _weights(model: onnx.ModelProto, node: onnx.NodeProto) -> Iterator[npt.NDArray[np.generic]]:
    """The constant weights of a node, at the places where its operator has them."""
    places = WEIGHT_PLACES.get(node.op_type, ())
    names = {node.input[place] for place in places if place < len(node.input)}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            yield numpy_helper.to_array(tensor)


def _round_weights(model: onnx.ModelProto, excluded: Set[str]) -> None:
    """Store the weights of products and gated units in 8 bits, a scale for each output, and give the nodes float32.

    Outputs lie along axis 1 of both: a product's weights are (inputs, outputs), those of a GRU (directions, gates x
    hidden, inputs); https://onnx.ai/onnx/operators/onnx__GRU.html.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    names = dict.fromkeys(
        node.input[place]
        for node in graph.node
        if node.op_type in ("MatMul", "GRU", "LSTM") and node.name not in excluded
        for place in WEIGHT_PLACES[node.op_type]
    )
    for place, name in enumerate(name for name in names if name in stored):
        weights = numpy_helper.to_array(stored[name])
        others = tuple(axis for axis in range(weights.ndim) if axis != 1)
        scale = np.maximum(np.abs(weights).max(axis=others, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
        graph.initializer.remove(stored[name])
        graph.initializer.append(numpy_helper.from_array(np.rint(weights / scale).astype(np.int8), f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(scale.ravel(), f"{name}_scale"))
        inputs = [f"{name}_quantized", f"{name}_scale"]
        graph.node.insert(place, helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}_floats", axis=1))
