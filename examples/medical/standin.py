"""An encoder of the shape that a real one has, with random weights: it has learned nothing and knows no anatomy.

Random features keep some of what sets two drawings apart, which is all that this example needs. With pictures of people
they would do the same, badly: put your own encoder in its place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, FILTERS, DIMENSION = 64, 16, 64
INPUT, OUTPUT = "image", "features"


def standin_encoder() -> bytes:
    """An ONNX graph: image float32 (batch, 1, 64, 64), about -1 to 1, to features float32 (batch, 64) of any length."""
    rng = np.random.default_rng(23)
    filters = rng.normal(0, 1, (FILTERS, 1, 7, 7))
    filters -= filters.mean(axis=(2, 3), keepdims=True)  # blind to even grey, which all pictures share
    cells = SIDE // 16
    mixing = rng.normal(0, 1, (FILTERS * cells * cells, DIMENSION))
    mixing -= mixing.mean(axis=0)
    nodes = [
        helper.make_node("Conv", [INPUT, "filters"], ["edges"], pads=[3, 3, 3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["edges"], ["found"]),
        helper.make_node("AveragePool", ["found"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["cells"], ["row"]),
        helper.make_node("MatMul", ["row", "mixing"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "standin",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", DIMENSION])],
        [_constant("filters", filters / 7), _constant("mixing", mixing / np.sqrt(len(mixing)))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised


def _constant(name: str, values: npt.NDArray[np.float64]) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
