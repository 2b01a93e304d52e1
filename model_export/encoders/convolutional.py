"""The small convolutional encoder: blocks of 3x3 convolution, 2x2 max pooling, batch norm and ReLU, then a linear head.

The shape of Koch et al. (2015) and of prototypical networks (Snell et al. 2017) at low resolution.
"""

from __future__ import annotations

import torch
from torch import nn

from model_export.encoders import TwinEncoder, as_ink


class ConvolutionalEncoder(TwinEncoder):
    """uint8 pixels (batch, height, width, channels) -> float32 (batch, dimension).

    Training gives distorted pixels as float32 in the same range.
    """

    inputs = ("pixels",)

    def __init__(self, *, size: tuple[int, int], channels: int, filters: int, blocks: int, dimension: int) -> None:
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
        places = (size[0] // 2**blocks) * (size[1] // 2**blocks)
        self.head = nn.Linear(filters * places, dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The graph that is exported: (batch, height, width, channels) -> float32 (batch, dimension)."""
        return self.finish(self.head(self.features(as_ink(pixels)).flatten(1)))
