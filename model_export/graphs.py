"""ONNX graphs as bytes: from torch, without traces of the machine, and with one external file where one is needed."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx.external_data_helper import convert_model_to_external_data
from onnx.helper import tensor_dtype_to_np_dtype

from app.core.bundle import EXTERNAL_FILE
from model_export.errors import CommandError

if TYPE_CHECKING:
    import torch

OPSET = 20
OUTPUT = "vectors"
LARGEST_INLINE_BYTES = 2_000_000_000
"""Weights beyond this lie in a file of their own: protobuf takes no message of 2 GiB."""


def export_torch(
    module: torch.nn.Module, example: Mapping[str, torch.Tensor], dynamic: Mapping[str, Mapping[int, str]]
) -> onnx.ModelProto:
    """The module, in eval mode, as a graph from the names of `example` to OUTPUT.

    `dynamic` maps an input to its axes of any size; axes of one name have one size. Raises CommandError where torch
    cannot export the module, or only for one size.
    """
    import torch  # noqa: PLC0415  # the import of an ONNX file needs no torch

    names = sorted({axis for axes in dynamic.values() for axis in axes.values()})
    dims = {name: torch.export.Dim(name) for name in names}
    shapes = tuple({place: dims[axis] for place, axis in dynamic[name].items()} for name in example)
    # The exporter warns of its own parts: of calls that torch deprecated, of axes that share a name as they should, and
    # of torchvision, which nothing here uses.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(example.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(example),
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises almost any type
            raise CommandError(f"torch.onnx cannot export it: {one_line(error.__cause__ or error)}") from error
    if program is None:
        raise CommandError("torch.onnx.export returned no program")
    return program.model_proto


def strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what tells of the machine that exported: source paths, scopes, stack traces; subgraphs and functions too.

    Also the shapes of inner values, which ONNX Runtime infers for itself.
    """
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in graphs_of(model):
        for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
            del part.metadata_props[:]
            part.doc_string = ""
        del graph.value_info[:]
    for function in model.functions:
        for inner in (function, *function.node):
            del inner.metadata_props[:]
            inner.doc_string = ""
    return model


def graphs_of(model: onnx.ModelProto) -> Iterable[onnx.GraphProto]:
    """The graph and every graph inside its nodes, the outermost first."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def describe_value(value: onnx.ValueInfoProto) -> str:
    """An input or output in words: its name, dtype and axes, as far as it declares them."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        return f"{value.name}, no tensor"
    kind = "string" if tensor.elem_type == onnx.TensorProto.STRING else tensor_dtype_to_np_dtype(tensor.elem_type)
    if not tensor.HasField("shape"):
        return f"{value.name} {kind}, axes undeclared"
    dims = ", ".join(dim.dim_param or str(dim.dim_value or "any") for dim in tensor.shape.dim)
    return f"{value.name} {kind} ({dims})"


def fits_inline(model: onnx.ModelProto) -> bool:
    """Whether the weights fit into one message together with the graph."""
    weights = sum(len(tensor.raw_data) for graph in graphs_of(model) for tensor in graph.initializer)
    return weights <= LARGEST_INLINE_BYTES


def serialise(model: onnx.ModelProto) -> tuple[bytes, bytes | None]:
    """The bytes of model.onnx, and those of its external file where the weights are too many for one message."""
    if fits_inline(model):
        return model.SerializeToString(deterministic=True), None
    with tempfile.TemporaryDirectory() as folder:
        convert_model_to_external_data(model, all_tensors_to_one_file=True, location=EXTERNAL_FILE)
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return path.read_bytes(), (Path(folder) / EXTERNAL_FILE).read_bytes()


def one_line(error: BaseException) -> str:
    """The first line of an error that libraries raise, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
