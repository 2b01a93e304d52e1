"""A head behind a bundle's graph, in ONNX. What the graph took it still takes; the head's output is its only one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from app.core.bundle import EXTERNAL_FILE, Bundle
from model_export.adapting.heads import Head
from model_export.graphs import graphs_of
from model_export.importing.wrapping import Nodes, to_unit_length


def join(bundle: Bundle, head: Head) -> tuple[onnx.ModelProto, str]:
    """The bundle's graph with the head behind its output, and the name of what comes out: float32 (batch, k)."""
    model = _read(bundle)
    graph = model.graph
    made = Nodes(_free_prefix(model))
    centred = made.add("Sub", bundle.manifest.graph.output, made.constant(head.mean, np.float32))
    out = made.add("MatMul", centred, made.constant(head.matrix, np.float32))
    if head.hidden is not None:
        inner = made.add("MatMul", centred, made.constant(head.hidden.inner, np.float32))
        inner = made.add("Relu", made.add("Add", inner, made.constant(head.hidden.bias, np.float32)))
        out = made.add("Add", out, made.add("MatMul", inner, made.constant(head.hidden.outer, np.float32)))
    if head.normalise:
        out = to_unit_length(made, out)
    graph.node.extend(made.nodes)
    graph.initializer.extend(made.constants)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", head.dimension]))
    onnx.checker.check_model(model)
    return model, out


def _read(bundle: Bundle) -> onnx.ModelProto:
    """The graph with all its weights, those of the file beside it too."""
    if bundle.external_data is None:
        return onnx.load_from_string(bundle.graph)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.onnx").write_bytes(bundle.graph)
        (Path(folder) / EXTERNAL_FILE).write_bytes(bundle.external_data)
        return onnx.load(Path(folder) / "model.onnx")


def _free_prefix(model: onnx.ModelProto) -> str:
    """What no name of the graph begins with, so that a head can stand behind a head."""
    names = {name for graph in graphs_of(model) for node in graph.node for name in (node.name, *node.output)}
    names |= {tensor.name for graph in graphs_of(model) for tensor in graph.initializer}
    number = 1
    while any(name.startswith(f"head{number}/") for name in names):
        number += 1
    return f"head{number}/"
