"""A bundle as tiny's whose graph never ends for one picture: a loop of so many rounds that nobody sees the last."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.core.bundle import CPU, Golden, seal, write_bundle
from tests.tiny import SIDE, reference_vectors, tiny_draft, tiny_graph, tiny_item

FOR_EVER = 10**12


def poison_png() -> bytes:
    """The picture: white but for a black corner, as no picture of tiny's is."""
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    pixels[:2, :2] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_stuck(models: Path, *, rounds: int) -> None:
    """Write the bundle as tiny@1.0.0. Every batch takes `rounds` rounds of the loop, of about a microsecond each."""
    probes = range(4)
    items = tuple(tiny_item(probe, 0) for probe in probes)
    vectors = reference_vectors(probes, normalized=True)
    golden = Golden(items, vectors, vectors, {CPU: 1e-5}, "training framework")
    write_bundle(models, seal(tiny_draft(), graph=looping_graph(rounds), golden=golden), {})


def looping_graph(rounds: int) -> bytes:
    """tiny's graph and a loop that changes nothing."""
    model = onnx.load_from_string(tiny_graph())
    graph = model.graph
    graph.node[-1].output[0] = "before"
    zero, state = (helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("zero", "state"))
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    going, goes_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "goes_on"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Abs", ["zero"], ["state"])],
        "body",
        [number, going, zero],
        [goes_on, state],
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["rows"], ["means"], axes=[1], keepdims=0),
            helper.make_node("ReduceMax", ["means"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "bright"], ["poisoned"]),
            helper.make_node("Where", ["poisoned", "for_ever", "rounds"], ["count"]),
            helper.make_node("Loop", ["count", "yes", "start"], ["end"], body=body),
            helper.make_node("Add", ["before", "end"], ["vectors"]),
        ]
    )
    constants = {
        "bright": np.array(0.8, np.float32),
        "for_ever": np.array(FOR_EVER, np.int64),
        "rounds": np.array(rounds, np.int64),
        "yes": np.array(True),
        "start": np.array(0.0, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    serialised: bytes = model.SerializeToString()
    return serialised
