"""`import timm`: a backbone of timm as a bundle; its data configuration becomes the preparation, timm the original.

timm resizes the shorter side beyond the input's and cuts out the middle. The image modality cuts the middle first, so
the bundle prepares the larger picture and its graph cuts the border off.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from app.core import modalities
from app.core.bundle import CPU, CUDA
from app.core.modalities.base import Limits
from app.runtime.encoder import Encoder
from model_export.errors import CommandError
from model_export.graphs import OPSET, export_torch, one_line
from model_export.importing.declaring import Declared, bundle_name, make_draft
from model_export.importing.publishing import PARITY, Reference, Rows, check_free, compare, publish, usable
from model_export.probes.choosing import probe_items

INPUT = "pixels"
MIN_CONTRAST, BACKGROUND = 8, 255
FITS = {"center": "crop", "squash": "stretch"}
FILTERS = ("bilinear", "bicubic", "lanczos", "box", "hamming")
NOISE = 9


class Backbone(torch.nn.Module):
    """uint8 (batch, height, width, channels) to float32 (batch, d) of unit length: crop, scale, timm's model."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: torch.nn.Module, size: tuple[int, int], border: tuple[int, int], config: Any) -> None:
        super().__init__()
        self.model, self.size, self.border = model, size, border
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(1, -1, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        (height, width), (top, left) = self.size, self.border
        inner = pixels[:, top : top + height, left : left + width].permute(0, 3, 1, 2).float() / 255.0
        return torch.nn.functional.normalize(self.model((inner - self.mean) / self.std), dim=-1)


def import_timm(name: str, pretrained: str | Literal[True] | None, models: Path, declared: Declared) -> Path:
    """Write the bundle of a backbone and return its folder. Raises CommandError; nothing is written then."""
    declared = replace(declared, name=declared.name or bundle_name(name))
    check_free(models, declared.name or "", declared.version)
    model = _create(name, pretrained)
    config = _timm("timm.data").resolve_model_data_config(model)
    size, outer = _sizes(config)
    params = _params(config, outer)
    modality = modalities.create("image", params, {})
    border = (_offset(outer[0], size[0]), _offset(outer[1], size[1]))
    items = usable(modality, probe_items(modality))
    pixels = np.stack([modality.prepare(item, Limits()).windows[0][INPUT] for item in items])
    noise = np.random.default_rng(0).integers(0, 256, (NOISE, *pixels.shape[1:]), dtype=np.uint8)
    framework = _embed(model, pixels, size, border, config)
    wanted = _embed(model, noise, size, border, config)
    backbone = Backbone(model, size, border, config)
    graph = export_torch(backbone, {INPUT: torch.from_numpy(pixels[:2])}, {INPUT: {0: "batch"}})
    cfg = getattr(model, "pretrained_cfg", None) or {}
    licence = declared.weights_licence or cfg.get("license")
    draft = make_draft(
        replace(declared, weights_licence=licence if isinstance(licence, str) else None),
        name=declared.name or "",
        modality="image",
        params=params,
        inputs=(INPUT,),
        opset=OPSET,
        dimension=framework.shape[1],
        metric="cosine",
        normalized=True,
        origin=f"imported from timm, {name}, {_weights(pretrained)}; scaling to unit length appended at import",
        providers=(CPU, CUDA),
        libraries=("timm", "torch", "onnx", "onnxscript"),
    )

    def compare_noise(encoder: Encoder) -> None:
        compare("noise", encoder.encode([{INPUT: one} for one in noise]), wanted, PARITY["fp32"])

    reference = Reference(items, framework, "training framework", PARITY["fp32"])
    return publish(models, draft, graph, assets={}, reference=reference, further=compare_noise)


def _create(name: str, pretrained: str | Literal[True] | None) -> torch.nn.Module:
    """The backbone without its classifier, in eval mode and float32."""
    if pretrained is None:
        raise CommandError(
            f"{name}: random weights match nothing: say --pretrained for timm's own, or --pretrained FILE"
        )
    if isinstance(pretrained, str) and not Path(pretrained).is_file():
        raise CommandError(f"{pretrained}: no such file")
    library = _timm("timm")
    overlay = {"file": pretrained} if isinstance(pretrained, str) else None
    try:
        model = library.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
    except Exception as error:  # unknown names, networks, files that do not fit
        raise CommandError(f"{name}: timm cannot create it: {one_line(error)}") from error
    made: torch.nn.Module = model.float().eval()
    return made


def _timm(module: str) -> Any:
    """timm, or a module of it, where it is installed and fits. Raises CommandError."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(f"needs the package {error.name!r}: install twinserve[timm]") from error
    except Exception as error:  # torchvision raises RuntimeError where it was built for another torch
        advice = "install the torchvision that belongs to your torch"
        raise CommandError(f"timm cannot be imported: {one_line(error)}: {advice}") from error


def _sizes(config: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width that the model takes, and those that the picture is brought to before its border goes."""
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        raise CommandError(f"it takes {channels} channels; pictures have 1 or 3")
    if config["crop_mode"] not in FITS:
        raise CommandError(f"its crop mode is {config['crop_mode']}; taken are {', '.join(FITS)}")
    if config["interpolation"] not in FILTERS:
        raise CommandError(f"its interpolation is {config['interpolation']}; taken are {', '.join(FILTERS)}")
    share = config["crop_pct"]
    return (height, width), (int(height / share), int(width / share))


def _params(config: dict[str, Any], outer: tuple[int, int]) -> dict[str, Any]:
    return {
        "mode": "L" if config["input_size"][0] == 1 else "RGB",
        "width": outer[1],
        "height": outer[0],
        "fit": FITS[config["crop_mode"]],
        "resample": config["interpolation"],
        "antialias": True,
        "background": BACKGROUND,
        "orientation": "exif",
        "sixteen_bit": "divide_257",
        "contrast": "none",
        "min_contrast": MIN_CONTRAST,
    }


def _offset(outer: int, inner: int) -> int:
    """Where the middle begins, as torchvision's CenterCrop has it."""
    return round((outer - inner) / 2.0)


def _embed(
    model: torch.nn.Module, pixels: Any, size: tuple[int, int], border: tuple[int, int], config: dict[str, Any]
) -> Rows:
    """timm's own model on pixels that numpy crops and scales, one picture at a time: float32 (n, d) of unit length."""
    inner = pixels[:, border[0] : border[0] + size[0], border[1] : border[1] + size[1]].astype(np.float32) / 255
    scaled = ((inner - np.float32(config["mean"])) / np.float32(config["std"])).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        rows: Rows = np.concatenate(
            [model(torch.from_numpy(np.ascontiguousarray(one[None]))).numpy() for one in scaled]
        )
    if rows.ndim != 2:
        raise CommandError(f"it gives {rows.shape[1:]} for a picture, which is no vector")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit: Rows = (rows / lengths).astype(np.float32)
    return unit


def _weights(pretrained: str | Literal[True] | None) -> str:
    return "its own weights" if pretrained is True else f"weights of {Path(str(pretrained)).name}"
