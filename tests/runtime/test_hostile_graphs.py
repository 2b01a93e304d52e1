"""Graphs and golden vectors built to reach beyond their bundle or to take more than there is: each is a refusal."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.core.bundle import EXTERNAL_FILE
from app.core.bundle.contents import dump_golden, load_golden
from app.core.errors import BundleRefused
from app.runtime.session import open_session
from tests.tiny import make_tiny, open_tiny, tiny_graph

SIZE = 64 * 16 * 4
"""Bytes of the tiny graph's weights."""


def weights(model: onnx.ModelProto) -> onnx.TensorProto:
    found: onnx.TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    return found


def external(**entries: str) -> tuple[bytes, bytes]:
    """The tiny graph with its weights elsewhere, as the entries say, and those weights."""
    model = onnx.load_model_from_string(tiny_graph())
    tensor = weights(model)
    data = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString(), data


def changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_model_from_string(tiny_graph())
    change(model)
    serialised: bytes = model.SerializeToString()
    return serialised


PLACES = {
    "beyond the end": {"offset": str(1 << 40), "length": str(SIZE)},
    "one byte beyond the end": {"offset": "1", "length": str(SIZE)},
    "before the beginning": {"offset": str(-SIZE), "length": str(SIZE)},
    "that wraps around": {"offset": str(2**63 - 1), "length": str(SIZE)},
    "of a length that is not the tensor's": {"offset": "0", "length": "4"},
    "of a vast length": {"offset": "0", "length": str(1 << 40)},
    "that is no number": {"offset": "abc", "length": str(SIZE)},
    "in another file": {"location": "/etc/hostname", "offset": "0", "length": str(SIZE)},
}


@pytest.mark.parametrize("name", PLACES)
def test_tensor_at_a_place_that_its_file_has_not_is_refused(name: str) -> None:
    place: Mapping[str, str] = {"location": EXTERNAL_FILE} | PLACES[name]
    graph, data = external(**place)
    with pytest.raises(BundleRefused, match="ONNX Runtime refuses it"):
        open_session(graph, device="cpu", threads=1, external_data={EXTERNAL_FILE: data})


def _custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "stranger"
    model.opset_import.append(helper.make_opsetid("stranger", 1))


def _sizes(*sizes: int) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        del weights(model).dims[:]
        weights(model).dims.extend(sizes)

    return change


GRAPHS = {
    "operator of a domain of its own": _custom_operator,
    "operator that is none": lambda model: setattr(model.graph.node[0], "op_type", "ReadFile"),
    "tensor of vast sizes": _sizes(2**31, 2**31, 2**31),
    "tensor of a negative size": _sizes(-1, 16),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_that_asks_for_what_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(BundleRefused, match="ONNX Runtime refuses it"):
        open_session(changed(GRAPHS[name]), device="cpu", threads=1)


def test_graph_that_takes_more_memory_than_there_is_does_not_start() -> None:
    """4 TB, made by one operator of a few bytes."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array([10**6, 10**6]), "sizes"))
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sizes"], ["vast"]))
        model.graph.node.insert(1, helper.make_node("ReduceMax", ["vast"], ["zero"], keepdims=0))
        model.graph.node.append(helper.make_node("Add", ["vectors", "zero"], ["sums"]))
        model.graph.output[0].name = "sums"

    bundle = make_tiny(calibrated=False)
    graph = bundle.manifest.graph.model_copy(update={"output": "sums"})
    manifest = bundle.manifest.model_copy(update={"graph": graph})
    encoder = open_tiny(replace(bundle, graph=changed(change), manifest=manifest))
    with pytest.raises(BundleRefused, match="cannot be embedded"):
        encoder.replay_golden()


def golden_with(name: str, content: bytes) -> bytes:
    """golden.npz with one array replaced."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(dump_golden(make_tiny(calibrated=False).golden))) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for info in source.infolist():
            archive.writestr(info.filename, content if info.filename == name else source.read(info))
    return packed.getvalue()


def npy(shape: str, descr: str = "'<f4'", body: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


@pytest.mark.parametrize(
    "content",
    [
        npy("(1000000000000, 16)"),
        npy("(-4, 16)"),
        npy("(" + "(" * 50 + "4" + ")" * 50 + ", 16)"),
        npy("(4, 16)", "'|O'", b"cos\nsystem\n(S'true'\ntR."),
        npy("__import__('os')"),
        bytes(65 * 1024 * 1024),
    ],
    ids=["vast", "negative", "nested", "pickle", "code", "bomb"],
)
def test_golden_vectors_that_lie_of_themselves_are_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused, match=r"golden\.npz"):
        load_golden(golden_with("framework.npy", content), make_tiny(calibrated=False).manifest)
