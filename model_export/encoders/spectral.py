"""The spectral encoder: 3x3 convolutions over steps and bands, so that a voice whose resonances lie a little higher or
lower gives nearly the same, as a convolution over steps alone does not (Abdel-Hamid et al. 2014).

Each block halves steps and bands. Padding changes nothing, as in convolutional_1d.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from model_export.encoders import TwinEncoder, masked_mean
from model_export.encoders.fronts import StepFront


class SpectralEncoder(TwinEncoder):
    """What the front takes, channels being neighbouring bands -> float32 (batch, dimension).

    `stages` are the filters of each block.
    """

    def __init__(self, *, front: StepFront, stages: Sequence[int], dropout: float, dimension: int) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        pairs = list(zip((1, *stages), stages, strict=False))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, filters, 3, stride=2, padding=1, bias=False) for before, filters in pairs
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters) for filters in stages)
        self.drop = nn.Dropout(dropout)
        bands = -(-front.width // 2 ** len(stages))
        self.head = nn.Linear(stages[-1] * bands, dimension)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        rows, shown = steps.unsqueeze(1), real.unsqueeze(1).unsqueeze(3)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            shown = shown[:, :, ::2]  # an output stands where the middle of its kernel stood
            rows = torch.relu(norm(convolution(rows))) * shown
        pooled = masked_mean(rows.transpose(1, 2).flatten(2), shown.flatten(1))
        return self.finish(self.head(self.drop(pooled)))
