"""The bag encoder: a learned weight for each token, the weighted mean of all, then a small network.

The order of the words is lost, which costs little where questions are short; Iyyer et al. 2015, "Deep unordered
composition rivals syntactic methods", is the shape.
"""

from __future__ import annotations

import torch
from torch import nn

from model_export.encoders import TwinEncoder, l2_normalize
from model_export.encoders.fronts import Front


class BagEncoder(TwinEncoder):
    """What the front takes -> float32 unit vectors (batch, dimension)."""

    def __init__(self, *, front: Front, hidden: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        self.importance = nn.Linear(front.width, 1)
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear(front.width, hidden)
        self.head = nn.Linear(hidden, dimension)
        self.straight = nn.Linear(front.width, dimension, bias=False)
        # At first only the straight way counts, and it keeps angles: words never seen in training still tell apart.
        nn.init.orthogonal_(self.straight.weight)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        weight = torch.sigmoid(self.importance(steps)) * real.unsqueeze(-1)
        pooled = (steps * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
        bent = self.head(self.drop(torch.relu(self.hidden(self.drop(pooled)))))
        return l2_normalize(bent + self.straight(pooled))
