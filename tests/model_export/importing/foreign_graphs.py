"""Graphs as others export them, with random weights: a face encoder of ArcFace's shape, and others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Rows = npt.NDArray[Any]
SIDE, FACE_DIMENSION = 112, 512

FACE_SPEC = """
name = "face"
origin = "random weights"
intended_use = "Testing."

[relation]
match_means = "of the same person"
not = "of the same picture"

[licence]
weights = "none: random"

[modality]
name = "image"

[modality.params]
mode = "RGB"
width = 112
height = 112
fit = "stretch"
resample = "bilinear"
antialias = true
background = 255
orientation = "exif"
sixteen_bit = "divide_257"
contrast = "none"
min_contrast = 8

[graph]
output = "embedding"
inputs = { pixels = "input.1" }

[graph.pixels]
layout = "nchw"
channels = "rgb"
mean = 127.5
scale = 127.5
"""


def write_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Rows],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *,
    opset: int = 14,
    ir_version: int = 8,
) -> Path:
    """Write a checked model and return its path."""
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "theirs", list(inputs), list(outputs), constants)
    if ir_version < 4:  # as exporters did in those days
        kinds = [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in constants]
        graph.input.extend(kinds)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    model.graph.node[0].doc_string = "/home/somebody/export.py"
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_face(
    path: Path,
    *,
    batch: int | str,
    opset: int = 14,
    ir_version: int = 8,
    dtype: type = np.float32,
    reshape: bool = False,
) -> Path:
    """ArcFace's shape: `input.1` (batch, 3, 112, 112) to `embedding` (batch, 512), not of unit length.

    `reshape`: the batch is said to be free, but a reshape inside allows one picture only, as careless exports do.
    """
    rng = np.random.default_rng(1)

    def random(*shape: int) -> Rows:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), dtype)

    weights = {
        "conv1.weight": random(8, 3, 3, 3),
        "prelu.slope": np.full((8, 1, 1), 0.25, dtype),
        "conv2.weight": random(16, 8, 3, 3),
        "bn.scale": np.ones(16, dtype),
        "bn.bias": random(16, 1).ravel(),
        "bn.mean": random(16, 1).ravel(),
        "bn.var": np.full(16, 0.5, dtype),
        # Values of their own called like the bundle's: imported graphs may use any names.
        "pixels": random(16 * 14 * 14, FACE_DIMENSION),
        "mask": random(1, FACE_DIMENSION).ravel(),
        "one_row": np.array([1, -1], np.int64),
    }
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    flatten = ["vectors", "one_row"] if reshape else ["vectors"]
    nodes = [
        helper.make_node("Conv", ["input.1", "conv1.weight"], ["c1"], strides=[4, 4], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c1", "prelu.slope"], ["p1"]),
        helper.make_node("Conv", ["p1", "conv2.weight"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c2", "bn.scale", "bn.bias", "bn.mean", "bn.var"], ["vectors"]),
        helper.make_node("Reshape" if reshape else "Flatten", flatten, ["flat"]),
        helper.make_node("Gemm", ["flat", "pixels", "mask"], ["embedding"]),
    ]
    if not reshape:
        del weights["one_row"]
    given = helper.make_tensor_value_info("input.1", kind, [batch, 3, SIDE, SIDE])
    made = helper.make_tensor_value_info("embedding", kind, [batch, FACE_DIMENSION])
    return write_model(path, nodes, weights, [given], [made], opset=opset, ir_version=ir_version)


def face_weights(path: Path) -> dict[str, Rows]:
    """The weights of a written face encoder, by name."""
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


SERIES_SPEC = """
name = "moves"
[relation]
match_means = "made by the same person"
not = "made at the same time"
[modality]
name = "series"
[modality.params]
channels = [{ name = "x", unit = "g" }, { name = "y", unit = "g" }, { name = "z", unit = "g" }]
min_steps = 8
max_steps = 64
ladder = [16, 32, 64]
long = "refuse"
gaps = "refuse"
normalisation = "none"
[graph]
pooling = "mean"
layout = "nct"
inputs = { values = "x", mask = "valid" }
"""


def write_series(path: Path, *, masked: bool, batch: int | str = "n", steps: int | str = "t") -> Path:
    """Steps to features by a convolution over time of width 3: `x` (batch, 3, steps) to (batch, steps, 6).

    `masked`: it takes `valid` int32 (batch, steps) and sets to zero what is padding before it looks at neighbours.
    """
    rng = np.random.default_rng(2)
    weights: dict[str, Rows] = {
        "w": rng.standard_normal((6, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(6).astype(np.float32),
        "w1": rng.standard_normal((3, 3, 1)).astype(np.float32),
        "b1": rng.standard_normal(3).astype(np.float32),
        "axis": np.array([1], np.int64),
    }
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, steps])]
    last = "moved"
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["moved"])]
    if masked:
        inputs.append(helper.make_tensor_value_info("valid", TensorProto.INT32, [batch, steps]))
        nodes += [
            helper.make_node("Cast", ["valid"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["real", "axis"], ["marked"]),
            helper.make_node("Mul", ["moved", "marked"], ["kept"]),
        ]
        last = "kept"
    else:
        del weights["axis"]
    nodes += [
        helper.make_node("Conv", [last, "w", "b"], ["y"], pads=[1, 1]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Transpose", ["z"], ["features"], perm=[0, 2, 1]),
    ]
    made = helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, steps, 6])
    return write_model(path, nodes, weights, inputs, [made])


SOUND_SPEC = """
name = "sounds"
[relation]
match_means = "the same word"
not = "said by the same voice"
[modality]
name = "audio"
[modality.params]
rate = 8000
mixdown = "mean"
resampler = "soxr_hq"
trim = "off"
min_seconds = 0.1
max_seconds = 1.0
long = { policy = "refuse" }
ladder_seconds = [0.25, 0.5, 1.0]
silence_db = -60.0
clipping_share = 0.05
[modality.params.features]
kind = "log_mel"
n_fft = 256
win_length = 200
hop_length = 80
n_mels = 16
fmin = 60.0
fmax = 3800.0
floor = 1e-8
mel_scale = "htk"
normalise = "none"
[graph]
pooling = "mean"
layout = "nct"
inputs = { features = "mel" }
"""


def write_sounds(path: Path, *, batch: int | str) -> Path:
    """Each frame by itself: `mel` (batch, 16, frames) to (batch, frames, 8)."""
    weights: dict[str, Rows] = {"w": np.random.default_rng(5).standard_normal((8, 16, 1)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["mel", "w"], ["y"]),
        helper.make_node("Tanh", ["y"], ["z"]),
        helper.make_node("Transpose", ["z"], ["frames"], perm=[0, 2, 1]),
    ]
    given = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [batch, 16, "t"])
    made = helper.make_tensor_value_info("frames", TensorProto.FLOAT, [batch, "t", 8])
    return write_model(path, nodes, weights, [given], [made])


TEXT_SPEC = """
name = "words"
[relation]
match_means = "about the same thing"
not = "in the same words"
[modality]
name = "text"
assets = { "tokenizer.json" = "tokenizer.json" }
[modality.params]
tokenizer = "tokenizer.json"
unicode_form = "NFC"
max_tokens = 64
lengths = [16, 64]
pad_id = 0
inputs = ["input_ids", "attention_mask"]
prefixes = {}
long_text = "refuse"
[graph]
pooling = "mean"
"""


def write_text(path: Path, words: int, *, batch: int | str = "n") -> Path:
    """An embedding of each token: `input_ids`, `attention_mask` int32 (batch, length) to (batch, length, 8)."""
    table = np.random.default_rng(3).standard_normal((words, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["unused"], to=TensorProto.FLOAT),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, [batch, "length"])
        for name in ("input_ids", "attention_mask")
    ]
    made = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [batch, "length", 8])
    return write_model(path, nodes, {"table": table}, inputs, [made])
