"""The transformer encoder (Vaswani et al. 2017): masked attention over all steps, then their mean.

Norms stand before each part (Xiong et al. 2020), so that it trains without a long warm-up. Positions are the sines of
the paper, made in the graph, so that no length is the longest. Attention is written out in matrix products, which
ONNX Runtime quantises.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from model_export.encoders import TwinEncoder, masked_mean
from model_export.encoders.fronts import Front

HIDDEN = -1e4
"""What a padded step's attention is lowered by: its exponential is exactly 0, and half precision can still hold it."""


class TransformerEncoder(TwinEncoder):
    """What the front takes -> float32 (batch, dimension)."""

    frequencies: torch.Tensor

    def __init__(
        self, *, front: Front, hidden: int, inner: int, heads: int, layers: int, dropout: float, dimension: int
    ) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        self.before = nn.Linear(front.width, hidden)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(hidden, inner, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, dimension)
        pairs = torch.arange(0, hidden, 2) / hidden
        self.register_buffer("frequencies", torch.exp(-math.log(10_000.0) * pairs), persistent=False)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        steps = self.drop(self.before(steps) + self._positions(steps))
        lowered = ((1.0 - real) * HIDDEN).to(steps.dtype).unsqueeze(1).unsqueeze(1)
        for layer in self.layers:
            steps = layer(steps, lowered)
        return self.finish(self.head(masked_mean(self.norm(steps), real)))

    def _positions(self, steps: torch.Tensor) -> torch.Tensor:
        """Sines and cosines of each place: float32 (steps, hidden)."""
        place = torch.arange(steps.shape[1], device=steps.device, dtype=torch.float32)
        angle = place.unsqueeze(1) * self.frequencies
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1).to(steps.dtype)


class _Layer(nn.Module):
    """Attention, then a small network a step, each added to what came in."""

    def __init__(self, hidden: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, hidden // heads
        self.first, self.second = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.asked, self.offered, self.given = (nn.Linear(hidden, hidden) for _ in range(3))
        self.joined = nn.Linear(hidden, hidden)
        self.wide, self.narrow = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, steps: torch.Tensor, lowered: torch.Tensor) -> torch.Tensor:
        """float32 (batch, steps, hidden), `lowered` (batch, 1, 1, steps) is added to attention."""
        normed = self.first(steps)
        asked, offered, given = (self._split(part(normed)) for part in (self.asked, self.offered, self.given))
        weight = torch.softmax(asked @ offered.transpose(2, 3) / math.sqrt(self.size) + lowered, dim=-1)
        seen = (self.drop(weight) @ given).transpose(1, 2).flatten(2)
        steps = steps + self.drop(self.joined(seen))
        inner = self.drop(torch.relu(self.wide(self.second(steps))))
        moved: torch.Tensor = steps + self.drop(self.narrow(inner))
        return moved

    def _split(self, rows: torch.Tensor) -> torch.Tensor:
        """(batch, steps, hidden) -> (batch, heads, steps, hidden / heads)."""
        return rows.reshape(*rows.shape[:2], self.heads, self.size).transpose(1, 2)
