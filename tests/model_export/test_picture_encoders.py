"""Encoders of pictures: any height, width and channels, and the exported graph is the encoder and can be quantised."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime import quantization

from app.core import modalities
from app.core.modalities.base import Modality
from model_export import recipe
from model_export.encoders import TwinEncoder
from model_export.encoders.choosing import make_encoder
from model_export.errors import CommandError
from model_export.export import to_onnx

CHOICES: dict[str, recipe.EncoderChoice] = {
    "convolutional": recipe.ConvolutionalChoice(name="convolutional", filters=6, blocks=2, dimension=8),
    "residual": recipe.ResidualChoice(name="residual", stages=(6, 8, 12), blocks=2, dropout=0.2, dimension=8),
    "residual of places": recipe.ResidualChoice(
        name="residual", stages=(6, 8), blocks=1, halve_first=True, pooling="flatten", dimension=8
    ),
}
SIZES = [(28, 28, "L"), (21, 34, "L"), (40, 18, "RGB")]


def pictures(height: int, width: int, mode: str) -> Modality:
    params = {"mode": mode, "width": width, "height": height, "fit": "pad", "resample": "bilinear", "antialias": True}
    rest = {"background": 255, "orientation": "exif", "sixteen_bit": "divide_257", "contrast": "none"}
    return modalities.create("image", params | rest | {"min_contrast": 8}, {})


def made(choice: recipe.EncoderChoice, modality: Modality) -> TwinEncoder:
    torch.manual_seed(0)
    encoder = make_encoder(choice, modality, 0)
    with torch.no_grad():  # norms that have seen data
        for name, buffer in encoder.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.3)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return encoder.eval()


def noise(count: int, height: int, width: int, mode: str) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 1 if mode == "L" else 3), dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", CHOICES)
def test_the_graph_is_the_encoder_at_any_batch_and_of_any_shape(name: str, size: tuple[int, int, str]) -> None:
    modality = pictures(*size)
    encoder = made(CHOICES[name], modality)
    session = onnxruntime.InferenceSession(to_onnx(encoder, modality), providers=["CPUExecutionProvider"])
    for batch in (1, 2, 7):
        pixels = noise(batch, *size)
        with torch.inference_mode():
            wanted = encoder(pixels).numpy()
        (got,) = session.run(None, {"pixels": pixels.numpy()})
        assert got.shape == (batch, 8)
        assert np.abs(got - wanted).max() < 1e-5
        assert np.abs(np.linalg.norm(got, axis=1) - 1).max() < 1e-5
        assert batch == 1 or np.abs(got[0] - got[1]).max() > 1e-4


@pytest.mark.parametrize("name", ["residual", "residual of places"])
def test_a_residual_graph_is_quantised_with_nothing_left_behind(name: str, tmp_path: Path) -> None:
    modality = pictures(24, 30, "L")
    graph = tmp_path / "model.onnx"
    graph.write_bytes(to_onnx(made(CHOICES[name], modality), modality))
    small = tmp_path / "int8.onnx"
    quantization.quantize_static(graph, small, _Noise(), per_channel=True)
    nodes = {one.name: one for one in onnx.load(small).graph.node}.values()
    made_by = {output: node.op_type for node in nodes for output in node.output}
    products = [node for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) > 5
    assert all(made_by[name] == "DequantizeLinear" for node in products for name in node.input[:2])
    pixels = noise(3, 24, 30, "L").numpy()
    got, wanted = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})[0]
        for path in (small, graph)
    )
    assert float((got * wanted).sum(axis=1).min()) > 0.95


class _Noise(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.batches: Iterator[dict[str, Any]] = iter([{"pixels": noise(8, 24, 30, "L").numpy()}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def test_places_count_only_where_they_are_kept() -> None:
    modality = pictures(24, 24, "L")
    ink = torch.full((1, 24, 24, 1), 255, dtype=torch.uint8)
    ink[:, 2:6, 2:6] = 0
    moved = ink.roll((8, 8), dims=(1, 2))
    apart = {}
    for name in ("residual", "residual of places"):
        encoder = made(CHOICES[name], modality)
        with torch.inference_mode():
            apart[name] = float((encoder(ink) - encoder(moved)).norm())
    assert apart["residual of places"] > 3 * apart["residual"]


def test_what_does_not_fit_is_refused_in_words() -> None:
    deep = recipe.ConvolutionalChoice(name="convolutional", filters=4, blocks=5, dimension=4)
    with pytest.raises(CommandError, match="5 halvings leave nothing of 20 x 40"):
        make_encoder(deep, pictures(20, 40, "L"), 0)


def test_without_timm_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    choice = recipe.TimmChoice(name="timm", model="resnet18", dimension=4)
    with pytest.raises(
        CommandError, match=r"^encoder\.name: timm needs the package 'timm': install twinserve\[timm\]$"
    ):
        make_encoder(choice, pictures(20, 40, "L"), 0)


def test_a_backbone_of_timm_is_trained_as_any_encoder_and_its_graph_is_the_encoder() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    for model in ("test_resnet.r160_in1k", "test_vit.r160_in1k"):
        choice = recipe.TimmChoice(name="timm", model=model, dropout=0.1, dimension=8)
        modality = pictures(64, 64, "L")
        encoder = made(choice, modality)
        pixels = noise(3, 64, 64, "L")
        session = onnxruntime.InferenceSession(to_onnx(encoder, modality), providers=["CPUExecutionProvider"])
        with torch.inference_mode():
            wanted = encoder(pixels).numpy()
        assert np.abs(session.run(None, {"pixels": pixels.numpy()})[0] - wanted).max() < 1e-5
        encoder.train()(pixels).sum().backward()
        assert all(one.grad is not None for one in encoder.parameters())
        with pytest.raises(CommandError, match="timm cannot create 'no_such_net'"):
            make_encoder(choice.model_copy(update={"model": "no_such_net"}), modality, 0)
