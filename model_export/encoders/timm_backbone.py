"""Any backbone of timm before a linear head, untrained: the library is asked for only where a recipe names it."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from model_export.encoders import TwinEncoder
from model_export.errors import CommandError
from model_export.graphs import one_line


class TimmEncoder(TwinEncoder):
    """uint8 pixels (batch, height, width, channels) -> float32 (batch, dimension), scaled as the backbone states.

    Where it states a mean and deviation for another number of channels, pixels are brought to +-1.
    """

    inputs = ("pixels",)
    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, *, model: str, size: tuple[int, int], channels: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.backbone = create_backbone(model, size, channels)
        stated = getattr(self.backbone, "pretrained_cfg", None) or {}
        for name, key in (("mean", "mean"), ("deviation", "std")):
            values = tuple(stated.get(key, ()))
            values = values if len(values) == channels else (0.5,) * channels
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.drop = nn.Dropout(dropout)
        # What it gives without its classifier; some widen their features once more before that.
        width = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.head = nn.Linear(int(width), dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        scaled = (pixels.permute(0, 3, 1, 2).to(torch.float32) / 255.0 - self.mean) / self.deviation
        return self.finish(self.head(self.drop(self.backbone(scaled))))


def create_backbone(model: str, size: tuple[int, int], channels: int) -> Any:
    """timm's model of that name without its classifier, for pictures of (height, width). Raises CommandError."""
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise CommandError(f"encoder.name: timm needs the package {error.name!r}: install twinserve[timm]") from error
    except Exception as error:  # torchvision raises RuntimeError where it was built for another torch
        advice = "install the torchvision that belongs to your torch"
        raise CommandError(f"encoder.name: timm cannot be imported: {one_line(error)}: {advice}") from error
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
    try:
        if timm.models.get_pretrained_cfg_value(model, "fixed_input_size"):
            options["img_size"] = size
        return timm.create_model(model, **options)
    except Exception as error:  # the library raises many types: unknown names, sizes that do not fit
        raise CommandError(f"encoder.model: timm cannot create {model!r}: {one_line(error)}") from error
