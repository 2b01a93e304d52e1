"""The small convolutional encoder: blocks of 3x3 convolution, 2x2 max pooling, batch norm and ReLU, then a linear head.

The shape of Koch et al. (2015) and of prototypical networks (Snell et al. 2017) at low resolution.
"""

from __future__ import annotations

import torch
from torch import nn

from model_export.encoders import TwinEncoder, l2_normalize


class ConvolutionalEncoder(TwinEncoder):
    """uint8 pixels (batch, height, width, channels) -> float32 unit vectors (batch, dimension).

    Pixels are scaled to (255 - pixel) / 255, so that paper is 0 and zero padding continues it. Training gives distorted
    pixels as float32 in the same range.
    """

    inputs = ("pixels",)

    def __init__(self, *, size: int, channels: int, filters: int, blocks: int, dimension: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(blocks):
            layers += [
                nn.Conv2d(channels if block == 0 else filters, filters, 3, padding=1, bias=False),
                nn.MaxPool2d(2),  # before the norm, which then sees a quarter of the values; ReLU and max commute
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*layers)
        side = size // 2**blocks
        self.head = nn.Linear(filters * side * side, dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The graph that is exported: (batch, height, width, channels) -> float32 (batch, dimension)."""
        ink = (255.0 - pixels.permute(0, 3, 1, 2).to(torch.float32)) / 255.0
        return l2_normalize(self.head(self.features(ink).flatten(1)))
