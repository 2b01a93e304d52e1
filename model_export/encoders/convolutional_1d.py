"""The convolutional encoder of sequences: masked 1-D convolutions that halve the steps, then their mean.

Padding changes nothing: it is 0 before each convolution, as what lies beyond the end of a sequence is. In training
alone it lends the batch norm zeros to average over.
"""

from __future__ import annotations

import torch
from torch import nn

from model_export.encoders import TwinEncoder, masked_mean
from model_export.encoders.fronts import Front


class Convolutional1dEncoder(TwinEncoder):
    """What the front takes -> float32 (batch, dimension)."""

    def __init__(self, *, front: Front, filters: int, blocks: int, kernel: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        self.convolutions = nn.ModuleList(
            nn.Conv1d(
                front.width if block == 0 else filters, filters, kernel, stride=2, padding=kernel // 2, bias=False
            )
            for block in range(blocks)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(filters) for _ in range(blocks))
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(filters, dimension)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        steps, real = steps.transpose(1, 2), real.unsqueeze(1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            real = real[:, :, ::2]  # an output stands where the middle of its kernel stood
            steps = torch.relu(norm(convolution(steps))) * real
        pooled = masked_mean(steps.transpose(1, 2), real.squeeze(1))
        return self.finish(self.head(self.drop(pooled)))
