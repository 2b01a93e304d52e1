"""An ONNX file read: whole, of known operators, of an opset and IR version that are served. Nothing of a spec."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import version_converter
from onnx.external_data_helper import load_external_data_for_model

from model_export.errors import CommandError
from model_export.graphs import graphs_of, one_line
from model_export.importing.declaring import Precision

OLDEST_OPSET, NEWEST_OPSET = 13, 26
"""Older ones are lifted to the oldest; the newest is what the CUDA build of ONNX Runtime takes, as is NEWEST_IR."""
OLDEST_IR, NEWEST_IR = 8, 13
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators ONNX Runtime brings along."""


def read_graph(path: Path) -> onnx.ModelProto:
    """Read a file and its external weights; the opset lifted where it is very old, the IR version where it is out of
    bounds. Raises CommandError for what is no such graph, or too new.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        _check_weights(path, model)
        load_external_data_for_model(model, str(path.parent))
    except (OSError, CommandError):
        raise
    except Exception as error:  # protobuf, and onnx for external weights, raise types of their own
        raise CommandError(f"{path}: is no whole ONNX graph: {one_line(error)}") from error
    if not model.graph.node:
        raise CommandError(f"{path}: is no whole ONNX graph: it has no nodes")
    _check_operators(path, model)
    opset = opset_of(model)
    if opset > NEWEST_OPSET:
        raise CommandError(f"{path}: opset {opset} is newer than {NEWEST_OPSET}, the newest that is served")
    if opset < OLDEST_OPSET:
        try:
            model = version_converter.convert_version(model, OLDEST_OPSET)
        except Exception as error:  # the converter raises RuntimeError and types of its own
            reason = f"its opset {opset} cannot be lifted to {OLDEST_OPSET}: {one_line(error)}"
            raise CommandError(f"{path}: {reason}") from error
        print(f"lifted opset {opset} to {OLDEST_OPSET}")
    model.ir_version = min(max(model.ir_version, OLDEST_IR), NEWEST_IR)
    # Before IR version 4 each weight was an input as well.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def _check_weights(path: Path, model: onnx.ModelProto) -> None:
    """The files beside the graph that hold its weights are there. (onnx itself refuses those that lie elsewhere.)"""
    tensors = (tensor for graph in graphs_of(model) for tensor in graph.initializer)
    for tensor in tensors:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), None)
        if location is not None and not (path.parent / location).exists():
            raise CommandError(f"{path}: its weights lie in {location!r}, which is not beside it: put it there")


def _check_operators(path: Path, model: onnx.ModelProto) -> None:
    """Every operator is one that ONNX Runtime brings, or a function that the file itself defines."""
    own = {function.domain for function in model.functions}
    for graph in graphs_of(model):
        for node in graph.node:
            if node.domain not in DOMAINS | own:
                raise CommandError(
                    f"{path}: its operator {node.op_type!r} is of {node.domain!r}, a library of somebody's own, and "
                    "such code is never loaded: export it with ONNX's operators"
                )


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def precision_of(model: onnx.ModelProto) -> Precision:
    """How the graph calculates, from its weights and operators: int8, fp16 or fp32."""
    nodes = {node.op_type for graph in graphs_of(model) for node in graph.node}
    if nodes & {"QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DequantizeLinear"}:
        return "int8"
    half = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    kinds = {tensor.data_type for graph in graphs_of(model) for tensor in graph.initializer}
    return "fp16" if kinds & set(half) else "fp32"
