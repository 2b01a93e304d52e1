"""What ONNX Runtime makes of a graph on CPU."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime


def count_operators(graph: bytes, folder: Path) -> Counter[str]:
    """How many operators of each kind ONNX Runtime runs, once it has optimised the graph; `folder` takes its file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # a graph written for one processor is not for another, it warns
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)
