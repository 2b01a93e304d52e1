"""The residual encoder (He et al. 2016): deeper than the small convolutional one, for larger pictures.

Basic blocks of two 3x3 convolutions around a shortcut, stages that halve the resolution, then the mean over the picture
or, where places count, all of it. Every node is one that ONNX Runtime quantises or leaves alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from model_export.encoders import TwinEncoder, as_ink


class ResidualEncoder(TwinEncoder):
    """uint8 pixels (batch, height, width, channels) -> float32 (batch, dimension), any height and width.

    `stages` are the filters of each stage; each but the first halves the resolution, and so does the stem where
    `halve_first`. Training may give distorted pixels as float32 in the same range.
    """

    inputs = ("pixels",)

    def __init__(
        self,
        *,
        size: tuple[int, int],
        channels: int,
        stages: Sequence[int],
        blocks: int,
        halve_first: bool,
        pooling: str,
        dropout: float,
        dimension: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(channels, stages[0], 2 if halve_first else 1), nn.ReLU(inplace=True))
        layers: list[nn.Module] = []
        before = stages[0]
        for stage, filters in enumerate(stages):
            for block in range(blocks):
                layers.append(_Block(before, filters, stride=2 if stage and not block else 1))
                before = filters
        self.features = nn.Sequential(*layers)
        if pooling == "mean":
            places = 1
            self.pool: nn.Module = nn.AdaptiveAvgPool2d(1)
        else:
            halved = len(stages) - 1 + halve_first
            places = (-(-size[0] // 2**halved)) * (-(-size[1] // 2**halved))
            self.pool = nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(before * places, dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The graph that is exported: (batch, height, width, channels) -> float32 (batch, dimension)."""
        features = self.features(self.stem(as_ink(pixels)))
        return self.finish(self.head(self.drop(self.pool(features).flatten(1))))


class _Block(nn.Module):
    """Two convolutions, and the way around them, which is a convolution of one pixel where the shape changes."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(before, filters, stride), nn.ReLU(inplace=True), *_convolution(filters, filters, 1)
        )
        same = stride == 1 and before == filters
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(before, filters, stride, kernel=1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(rows) + self.shortcut(rows))


def _convolution(before: int, filters: int, stride: int, kernel: int = 3) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(before, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(filters)
