"""The encoder of single drawings, such as characters: ink brought to one place and size, then few dense convolutions.

Most of the time goes into 3x3 convolutions at a quarter of the resolution and below. The resolution is halved by
pooling after a convolution, not by its stride: at the same cost in training that told characters of unseen alphabets
apart better than the residual encoder did (recipes/glyphs.toml names the figures).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from model_export.encoders import TwinEncoder, as_ink
from model_export.encoders.centring import Centring


class DrawingEncoder(TwinEncoder):
    """uint8 pixels (batch, height, width, 1) -> float32 (batch, dimension).

    `stages` are filters: the first stage is one 5x5 convolution that halves the resolution; each further one is a
    3x3 convolution, pooling that halves it, and `blocks` 3x3 convolutions each added to what it was given. Training
    may give distorted pixels as float32 in the same range.
    """

    inputs = ("pixels",)

    def __init__(self, *, centring: Centring, side: int, stages: Sequence[int], blocks: int, dimension: int) -> None:
        super().__init__()
        self.centring = centring
        layers: list[nn.Module] = [nn.Conv2d(1, stages[0], 5, stride=2, padding=2, bias=False), *_normed(stages[0])]
        for before, filters in itertools.pairwise(stages):
            convolution = nn.Conv2d(before, filters, 3, padding=1, bias=False)
            # before the norm, which then sees a quarter of the values; ReLU and max commute
            layers += [convolution, nn.MaxPool2d(2), *_normed(filters)]
            layers += [_Added(filters) for _ in range(blocks)]
        self.features = nn.Sequential(*layers)
        places = (-(-side // 2) // 2 ** (len(stages) - 1)) ** 2
        self.head = nn.Linear(stages[-1] * places, dimension)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The graph that is exported: (batch, height, width, 1) -> float32 (batch, dimension)."""
        ink = self.centring(as_ink(pixels)).contiguous(memory_format=torch.channels_last)
        return self.finish(self.head(self.features(ink).flatten(1)))


class _Added(nn.Module):
    """One convolution added to what it was given."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(filters, filters, 3, padding=1, bias=False), *_normed(filters))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = rows + self.body(rows)
        return added


def _normed(filters: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(filters), nn.ReLU(inplace=True)
