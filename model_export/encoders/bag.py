"""The bag encoder: a learned weight for each token, the weighted mean of all, then a small network.

The order of the words is lost, which costs little where questions are short; Iyyer et al. 2015, "Deep unordered
composition rivals syntactic methods", is the shape. Beside it may stand a lexical part that nothing trains: the tokens
weighed by their rarity (inverse document frequency, Sparck Jones 1972), in a random projection that keeps angles
(Johnson and Lindenstrauss 1984). It knows no synonyms, but it does tell words apart that no training text held. It
stands beside only once training is over: trained together, the learned part leans on it and learns less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from app.core.modalities.base import Window
from model_export.encoders import TwinEncoder, l2_normalize
from model_export.encoders.fronts import Front, TokenFront


class BagEncoder(TwinEncoder):
    """What the front takes -> float32 (batch, dimension).

    `lexical_share` is the share of the cosine that the lexical part decides, `lexical_dimension` its length within
    `dimension`; both 0 for none, and for other items than text.
    """

    lexical: torch.Tensor

    def __init__(
        self,
        *,
        front: Front,
        hidden: int,
        dropout: float,
        dimension: int,
        lexical_share: float = 0.0,
        lexical_dimension: int = 0,
    ) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        learned = dimension - lexical_dimension
        self.importance = nn.Linear(front.width, 1)
        self.drop = nn.Dropout(dropout)
        self.hidden = nn.Linear(front.width, hidden)
        self.head = nn.Linear(hidden, learned)
        self.straight = nn.Linear(front.width, learned, bias=False)
        # At first only the straight way counts, and it keeps angles: words never seen in training still tell apart.
        nn.init.orthogonal_(self.straight.weight)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.share = lexical_share
        rows = front.table.num_embeddings if isinstance(front, TokenFront) else 0
        self.register_buffer("lexical", torch.randn(rows, lexical_dimension) / math.sqrt(max(1, lexical_dimension)))

    def count(self, windows: Sequence[Window]) -> None:
        """Weigh each token by ln((1 + n) / (1 + windows that hold it)) + 1, n being the number of windows."""
        if self.share:
            held = np.zeros(len(self.lexical))
            for window in windows:
                held[np.unique(window[self.inputs[0]])] += 1
            rarity = np.log((1 + len(windows)) / (1 + held)) + 1
            self.lexical *= torch.from_numpy(rarity).to(torch.float32).unsqueeze(1)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported; in training the learned part alone."""
        steps, real = self.front(values, mask)
        weight = torch.sigmoid(self.importance(steps)) * real.unsqueeze(-1)
        pooled = (steps * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
        bent = self.head(self.drop(torch.relu(self.hidden(self.drop(pooled)))))
        learned = self.finish(bent + self.straight(pooled))
        if self.training or not self.share:
            return learned
        words = l2_normalize((nn.functional.embedding(values, self.lexical) * real.unsqueeze(-1)).sum(dim=1))
        return torch.cat([learned * math.sqrt(1 - self.share), words * math.sqrt(self.share)], dim=1)
