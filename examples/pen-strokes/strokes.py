"""Invented handwriting on a tablet, and a graph with random weights: it has learned nothing.

A writer is a number; it decides slant, size, roundness, speed and pressure of the hand. What is written, a wavy word,
is another number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS, FILTERS, KERNEL, DIMENSION = 4, 48, 15, 64
Steps = list[list[float]]


def write(writer: int, word: int) -> Steps:
    """Steps of [x mm, y mm, pressure 0 to 1, ms since the step before], as a tablet reports them: at no fixed rate."""
    hand, rng = np.random.default_rng([61, writer]), np.random.default_rng([61, writer, word])
    slant, tall, wide = hand.normal(0, 0.35), hand.uniform(2, 7), hand.uniform(12, 30)
    waves, round_, speed = hand.uniform(3, 9), hand.uniform(0.1, 0.9), hand.uniform(5, 14)
    firm, swell = hand.uniform(0.3, 0.8), hand.uniform(0.0, 0.25)
    step = np.maximum(rng.normal(speed, 0.6, int(rng.integers(90, 140))), 2.0)
    along = np.cumsum(step) / step.sum()
    phase = 2 * np.pi * waves * along + rng.normal(0, 0.15)
    y = tall * np.sin(phase) * (1 + 0.1 * np.sin(2 * np.pi * along + rng.uniform(0, 6)))
    x = wide * along + tall * round_ * np.cos(phase) + slant * y + rng.normal(0, 0.05, len(along))
    pressure = np.clip(firm + swell * np.sin(phase + 1) + rng.normal(0, 0.02, len(along)), 0, 1)
    steps: Steps = np.stack([x - x.mean(), y - y.mean(), pressure, step], axis=1).round(3).tolist()
    return steps


def standin_encoder() -> bytes:
    """An ONNX graph: values float32 (batch, steps, 4) and mask (batch, steps) to float32 (batch, 64) of any length.

    A convolution, the mean over the steps that the mask marks, a projection: padding changes nothing.
    """
    rng = np.random.default_rng(67)
    filters = rng.normal(0, 1 / np.sqrt(CHANNELS * KERNEL), (FILTERS, CHANNELS, KERNEL))
    constants: dict[str, npt.NDArray[Any]] = {
        "filters": filters.astype(np.float32),
        "head": rng.normal(0, 1, (FILTERS, DIMENSION)).astype(np.float32),
        "steps_axis": np.array([2], np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Transpose", ["values"], ["channels_first"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels_first", "filters"], ["bends"], pads=[KERNEL // 2] * 2),
        helper.make_node("Relu", ["bends"], ["found"]),
        helper.make_node("Unsqueeze", ["mask", "one"], ["marked"]),
        helper.make_node("Mul", ["found", "marked"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "steps_axis"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("MatMul", ["mean", "head"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "standin",
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "steps", CHANNELS]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", "steps"]),
        ],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
