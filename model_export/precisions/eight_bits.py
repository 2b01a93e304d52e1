"""8-bit graphs by onnxruntime.quantization: static QDQ for convolutions, dynamic for products of matrices.

Static: the ranges of activations are measured once, on training items. Dynamic: they are found anew in each run, over
the whole batch, so that an item's vector depends a little on its neighbours; the guard band measures by how much.

Weights keep seven of the eight bits (`reduce_range`). Processors without VNNI add pairs of products in 16 bits, which
full 8-bit weights overflow: on an AVX2 machine the cosine with float32 fell to 0.36 (heartbeat) where seven bits keep
0.999. With them the sums are exact everywhere, so that evidence measured on one processor holds on another.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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

Feeds = Mapping[str, Array]

STATIC_OPERATORS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]
"""Left in float32: what scales the inputs, masks, pools and normalises."""
DYNAMIC_OPERATORS = ["MatMul", "LSTM", "Gather"]
"""Gemm is split into MatMul and Add by the library; Gather is the table of token embeddings."""
WEIGHT_PLACES = {"Conv": (1,), "Gemm": (1,), "MatMul": (1,), "GRU": (1, 2), "LSTM": (1, 2), "Gather": (0,)}
CONVOLUTIONAL = 0.1
"""Share of the weights in convolutions from which a graph is convolutional. A vision transformer, whose one convolution
cuts out patches, has about a hundredth; the small convolutional encoder with its head two fifths."""


def is_convolutional(graph: bytes) -> bool:
    """Whether the encoder is quantised statically, and so needs items that show the ranges of its activations."""
    return _is_convolutional(onnx.load_from_string(graph))


def to_int8(graph: bytes, feeds: Sequence[Feeds]) -> bytes:
    """The graph with 8-bit weights; the same graph and feeds give the same bytes.

    `feeds` show the ranges of a convolutional graph's activations, and are not read for others. Raises CommandError
    where nothing in the graph could be rounded, or the library cannot take it.
    """
    logging.getLogger().setLevel(logging.ERROR)  # the library recommends on the root logger what is done below
    with tempfile.TemporaryDirectory() as folder:
        try:
            model = _quantise(graph, feeds, Path(folder))
        except CommandError:
            raise
        except Exception as error:  # the library raises almost any type
            raise CommandError(f"onnxruntime.quantization cannot take this graph: {one_line(error)}") from error
    _round_recurrent(model.graph)
    if not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in model.graph.initializer):
        raise CommandError("int8: the graph has no learned weights that could be rounded")
    used = {node.domain for node in model.graph.node}
    for one in [one for one in model.opset_import if one.domain not in used]:
        model.opset_import.remove(one)  # the library's optimiser names every domain that it knows
    result: bytes = strip_metadata(model).SerializeToString(deterministic=True)
    return result


def _quantise(graph: bytes, feeds: Sequence[Feeds], folder: Path) -> onnx.ModelProto:
    given, ready, made = (folder / f"{name}.onnx" for name in ("given", "ready", "made"))
    given.write_bytes(graph)
    quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)  # folds constants and batch norms
    model = onnx.load(ready)
    # Sums written as convolutions with ones level and average the inputs: they are scaling, and not learned.
    excluded = [node.name for node in model.graph.node if node.op_type in WEIGHT_PLACES and not _learned(model, node)]
    if _is_convolutional(model):
        if not feeds:
            raise CommandError("int8: a convolutional encoder needs items that show the ranges of its activations")
        quantize_static(
            str(ready),
            str(made),
            _Reader(feeds),
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
            op_types_to_quantize=DYNAMIC_OPERATORS,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
        )
    return onnx.load(made)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Feeds one by one, as the library asks for them."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)


def _is_convolutional(model: onnx.ModelProto) -> bool:
    sizes = {"Conv": 0, "others": 0}
    for node in model.graph.node:
        if _learned(model, node):
            weights = sum(weight.size for weight in _weights(model, node))
            sizes["Conv" if node.op_type == "Conv" else "others"] += weights if node.op_type != "Gather" else 0
    return sizes["Conv"] > CONVOLUTIONAL * sum(sizes.values())


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


def _round_recurrent(graph: onnx.GraphProto) -> None:
    """Keep the weights of gated units in 8 bits, a scale a row, and turn them into float32 before the node.

    No 8-bit GRU exists in ONNX Runtime; this saves their size, and no time. Layout (directions, rows, columns):
    https://onnx.ai/onnx/operators/onnx__GRU.html.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made = []
    for node in graph.node:
        if node.op_type not in ("GRU", "LSTM") or node.domain:
            continue
        for place in WEIGHT_PLACES[node.op_type]:
            tensor = stored.get(node.input[place])
            if tensor is None or tensor.dims[0] != 1:
                continue
            weights = numpy_helper.to_array(tensor)
            scale = np.maximum(np.abs(weights[0]).max(axis=1), np.finfo(np.float32).tiny) / np.float32(127)
            rounded = np.rint(weights / scale[:, np.newaxis]).astype(np.int8)
            name = tensor.name
            graph.initializer.remove(tensor)
            graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_quantized"))
            graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
            made.append(
                helper.make_node(
                    "DequantizeLinear",
                    [f"{name}_quantized", f"{name}_scale"],
                    [name],
                    name=f"{name}_DequantizeLinear",
                    axis=1,
                )
            )
    for node in reversed(made):
        graph.node.insert(0, node)
