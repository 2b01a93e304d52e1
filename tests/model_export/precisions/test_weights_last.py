"""Products with their weights first are rounded to 8 bits as those with them last, and others are left as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.runtime.session import open_session
from model_export.precisions.eight_bits import Feeds, to_int8
from model_export.precisions.weights_last import put_weights_last

INPUTS, OUTPUTS = 24, 16
ROWS = np.random.default_rng(3).normal(size=(5, INPUTS)).astype(np.float32)


def no_feeds() -> Sequence[Feeds]:
    raise AssertionError("only a static graph asks for items")


def weights_first(perm: Sequence[int] = (1, 0), *, shared: bool = False, alpha: float = 1.0) -> onnx.ModelProto:
    """(W x^T + b)^T from `rows` (tokens, inputs) to `vectors`; `shared` gives out the untransposed product too."""
    nodes = [
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[1, 0]),
        helper.make_node("Gemm", ["weights", "columns", "bias"], ["product"], alpha=alpha),
        helper.make_node("Transpose", ["product"], ["vectors"], perm=list(perm)),
    ]
    rng = np.random.default_rng(4)
    constants = {
        "weights": rng.normal(size=(OUTPUTS, INPUTS)).astype(np.float32),
        "bias": rng.normal(size=(OUTPUTS, 1)).astype(np.float32),
    }
    outputs = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [None, None])]
    outputs += [helper.make_tensor_value_info("product", TensorProto.FLOAT, [OUTPUTS, "tokens"])] if shared else []
    graph = helper.make_graph(
        nodes,
        "weights_first",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["tokens", INPUTS])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def vectors(graph: bytes) -> npt.NDArray[np.float32]:
    return open_session(graph, device="cpu", threads=1).run("vectors", {"rows": ROWS})


def test_the_product_stays_and_nothing_is_turned() -> None:
    model = weights_first()
    wanted = vectors(model.SerializeToString())
    put_weights_last(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    assert np.abs(vectors(model.SerializeToString()) - wanted).max() < 1e-5


def test_its_weights_are_rounded_to_8_bits() -> None:
    graph = weights_first().SerializeToString()
    small, _ = to_int8(graph, no_feeds)
    operators = {node.op_type for node in onnx.load_from_string(small).graph.node}
    assert "MatMulInteger" in operators
    assert not operators & {"Gemm", "Transpose"}
    wanted = vectors(graph)
    assert np.abs(vectors(small) - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(
    "model",
    [weights_first(alpha=0.5), weights_first((0, 1)), weights_first(shared=True)],
    ids=["scaled", "not turned back", "given out"],
)
def test_any_other_product_is_left_as_it_is(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    put_weights_last(model)
    assert model.SerializeToString() == before
