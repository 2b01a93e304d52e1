"""Products that an export of BERT writes with their weights first, put in the order in which 8-bit kernels take them.

In float32 a product of few tokens is faster as weights times columns of tokens (model_export/importing/token_rows.py).
onnxruntime.quantization rounds weights only where they come second.
"""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import helper, numpy_helper

TURN = [1, 0]


def put_weights_last(model: onnx.ModelProto) -> None:
    """Replace, in place, each (W x^T + b)^T by x W^T + b, where W (outputs, inputs) and b (outputs, 1) are constants.

    Both are Gemm between two Transpose; a graph without such is left as it is.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    takers = Counter(name for node in graph.node for name in node.input) + Counter(one.name for one in graph.output)
    for last in [node for node in graph.node if _turns(node)]:
        product = makers.get(last.input[0])
        if product is None or takers[last.input[0]] != 1 or not _is_weights_first(product, constants):
            continue
        first = makers.get(product.input[1])
        if first is None or not _turns(first):
            continue
        weights, _, bias = product.input
        flat = f"{bias}_flat"
        if flat not in constants:
            constants[flat] = numpy_helper.from_array(numpy_helper.to_array(constants[bias]).ravel(), flat)
            graph.initializer.append(constants[flat])
        # In the product's place, so that nodes stay in the order in which they can run.
        product.CopyFrom(helper.make_node("Gemm", [first.input[0], weights, flat], last.output, product.name, transB=1))
        graph.node.remove(last)
        if takers[first.output[0]] == 1:
            graph.node.remove(first)


def _turns(node: onnx.NodeProto) -> bool:
    """Whether a node swaps the axes of a matrix."""
    return node.op_type == "Transpose" and [list(one.ints) for one in node.attribute] == [TURN]


def _is_weights_first(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Whether a node is W x + b with nothing turned or scaled, b a column."""
    if node.op_type != "Gemm" or len(node.input) != 3:
        return False
    said = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    weights, bias = constants.get(node.input[0]), constants.get(node.input[2])
    plain = not said.get("transA") and not said.get("transB")
    unscaled = said.get("alpha", 1.0) == said.get("beta", 1.0) == 1.0
    return plain and unscaled and weights is not None and bias is not None and list(bias.dims) == [weights.dims[0], 1]
