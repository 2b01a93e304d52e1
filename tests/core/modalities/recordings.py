"""Series made for the tests of the series modality: a synthetic ECG, params, and a real graph that reads the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from app.core.bundle import CPU, Bundle, Golden, Graph, ModalityChoice, seal
from app.core.modalities import create
from app.core.modalities.base import Limits, Prepared
from app.runtime.encoder import Encoder
from tests.tiny import DIMENSION, OPSET, open_tiny, tiny_draft

Numbers = npt.NDArray[np.float64]

RATE = 250.0
PARAMS: dict[str, Any] = {
    "channels": [{"name": "lead I", "unit": "mV"}, {"name": "lead II", "unit": "mV"}],
    "rate": RATE,
    "resample": "soxr_hq",
    "min_rate": 62.5,
    "max_rate": 1000.0,
    "min_steps": 100,
    "max_steps": 5000,
    "ladder": [250, 500, 1000],
    "long": "window",
    "window_steps": 1000,
    "hop_steps": 400,
    "gaps": "refuse",
    "normalisation": "none",
}
"""Numbers are left as they are, so that a test can compare with what it sent."""
REFUSE_LONG: dict[str, Any] = {
    "long": "refuse",
    "window_steps": None,
    "hop_steps": None,
    "ladder": [1000],
    "max_steps": 1000,
}
PEN: dict[str, Any] = {
    "channels": [{"name": "x", "unit": "mm"}, {"name": "y", "unit": "mm"}, {"name": "pressure", "unit": "0 to 1"}],
    "rate": None,
    "resample": None,
    "min_steps": 4,
    "max_steps": 64,
    "ladder": [16, 64],
    "long": "refuse",
    "gaps": "refuse",
    "normalisation": "declared",
    "mean": [10.0, -5.0, 0.5],
    "scale": [4.0, 2.0, 0.25],
}

# Waves of one beat: place in it, height in mV, width, in parts of a beat: P, Q, R, S, T.
WAVES = ((0.20, 0.15, 0.025), (0.355, -0.12, 0.008), (0.38, 1.1, 0.01), (0.405, -0.25, 0.009), (0.62, 0.3, 0.04))


def ecg(seconds: float = 4.0, rate: float = RATE, *, beats: float = 72.0, seed: int = 0) -> Numbers:
    """Two leads of a synthetic heart, in mV with a baseline of about 0.2: (steps, 2). The same time course at any
    rate; `seed` changes the heart.
    """
    shape = np.random.default_rng(seed).uniform(0.7, 1.3, (2, len(WAVES)))
    phase = (np.arange(round(seconds * rate)) / rate * beats / 60.0) % 1.0
    leads = [
        sum(height * factor * np.exp(-(((phase - place) / width) ** 2) / 2) for (place, height, width), factor in waves)
        for waves in (list(zip(WAVES, row, strict=True)) for row in shape)
    ]
    both: Numbers = np.stack(leads, axis=1) + np.array([0.2, 0.15])
    return both


def prepared(
    numbers: Any, limits: Limits | None = None, *, rate: Any = None, base: Any = None, **params: Any
) -> Prepared:
    """Prepare an array or nested list under PARAMS (or `base`) changed by `params`; `rate` is the item's."""
    rows = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
    item = {"values": rows} if rate is None else {"values": rows, "rate": rate}
    return create("series", (base or PARAMS) | params, {}).prepare(item, limits or Limits())


def steps(numbers: Any, **options: Any) -> npt.NDArray[np.float32]:
    """The real steps of the only window, float32 (steps, channels); padding is checked to be zeros at the end."""
    (window,) = prepared(numbers, **options).windows
    values, mask = window["values"], window["mask"]
    assert values.dtype == mask.dtype == np.float32
    assert len(values) == len(mask)
    real = int(mask.sum())
    assert mask.tolist() == [1.0] * real + [0.0] * (len(mask) - real)
    assert not values[real:].any()
    return values[:real]


def masked_graph(*, masked: bool = True) -> bytes:
    """values (batch, steps, 2) and mask (batch, steps) to unit vectors (batch, 16): a convolution over time, ReLU,
    and the mean over real steps; over all steps, padding included, where not `masked`.
    """
    weights = np.random.default_rng(5).normal(0, 0.5, (DIMENSION, 2, 5)).astype(np.float32)
    constants: dict[str, npt.NDArray[Any]] = {
        "weights": weights,
        "bias": np.linspace(-0.2, 0.3, DIMENSION, dtype=np.float32),  # so that padding alone gives something to pool
        "inner": np.array([1], dtype=np.int64),
        "time": np.array([2], dtype=np.int64),
        "floor": np.array(1e-12, dtype=np.float32),
        "zero": np.array(0.0, dtype=np.float32),
        "one": np.array(1.0, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["values"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "weights", "bias"], ["seen"], pads=[2, 2]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node("Unsqueeze", ["mask", "inner"], ["given"]),
    ]
    if masked:
        nodes.append(helper.make_node("Identity", ["given"], ["counted"]))
    else:
        nodes += [
            helper.make_node("Mul", ["given", "zero"], ["none"]),
            helper.make_node("Add", ["none", "one"], ["counted"]),
        ]
    nodes += [
        helper.make_node("Mul", ["active", "counted"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "time"], ["sums"], keepdims=0),
        helper.make_node("ReduceSum", ["counted", "time"], ["counts"], keepdims=0),
        helper.make_node("Div", ["sums", "counts"], ["means"]),
        helper.make_node("ReduceSumSquare", ["means"], ["squares"], axes=[1], keepdims=1),
        helper.make_node("Max", ["squares", "floor"], ["positive"]),
        helper.make_node("Sqrt", ["positive"], ["lengths"]),
        helper.make_node("Div", ["means", "lengths"], ["vectors"]),
    ]
    graph = helper.make_graph(
        nodes,
        "masked",
        [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "steps", 2]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", "steps"]),
        ],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def reference(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """What the masked graph must give for real steps (steps, 2), in plain numpy: (16,)."""
    weights = np.random.default_rng(5).normal(0, 0.5, (DIMENSION, 2, 5)).astype(np.float32).astype(np.float64)
    around = np.pad(numbers.astype(np.float64), ((2, 2), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(around, 5, axis=0)  # (steps, channels, 5)
    active = np.maximum(np.einsum("tck,dck->td", views, weights) + np.linspace(-0.2, 0.3, DIMENSION), 0)
    mean = active.mean(axis=0)
    unit: npt.NDArray[np.float64] = mean / np.linalg.norm(mean)
    return unit


def series_bundle(graph: bytes, **params: Any) -> Bundle:
    """A sealed bundle around a graph, its golden vectors those of the reference."""
    item = {"values": ecg(2.0).tolist(), "rate": RATE}
    row = reference(steps(ecg(2.0), **params)).astype(np.float32)[np.newaxis]
    draft = tiny_draft(
        modality=ModalityChoice(name="series", params=PARAMS | params),
        graph=Graph(inputs=("values", "mask"), output="vectors", precision="fp32", opset=OPSET),
    )
    return seal(draft, graph=graph, golden=Golden((item,), row, row, {CPU: 1e-5}, "training framework"))


def encoder(graph: bytes, **params: Any) -> Encoder:
    return open_tiny(series_bundle(graph, **params))
