"""How tokens are spelled, as vectors: tokens that share runs of letters get vectors that are alike.

A token's vector is the sum of random ones, one for each run of 3 to 5 letters in it and one for the whole token, after
Bojanowski et al. 2017, "Enriching word vectors with subword information", with all runs apart and nothing hashed.
"card" and "cards" are then near each other before anything is learnt, and where no training text held one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse

from app.core.modalities.base import Window

SHORTEST, LONGEST = 3, 5


class Spelling:
    """Which runs of letters each token holds."""

    def __init__(self, tokens: Sequence[str]) -> None:
        number: dict[str, int] = {}
        rows = [[number.setdefault(run, len(number)) for run in runs_of(token)] for token in tokens]
        start = np.cumsum([0, *(len(row) for row in rows)])
        places = np.concatenate([np.array(row, np.int64) for row in rows])
        self.held = sparse.csr_matrix((np.ones(len(places), np.float32), places, start), (len(tokens), len(number)))

    def rarity(self, windows: Sequence[Window], name: str) -> torch.Tensor:
        """ln((1 + n) / (1 + windows that hold it)) + 1 of each run, n being the number of windows: float32 (runs,)."""
        ids = [np.unique(window[name]) for window in windows]
        start = np.cumsum([0, *(len(row) for row in ids)])
        shape = (len(ids), self.held.shape[0])
        texts = sparse.csr_matrix((np.ones(start[-1], np.float32), np.concatenate(ids), start), shape)
        count = np.asarray((texts @ self.held > 0).sum(axis=0)).ravel()
        return torch.from_numpy(np.log((1 + len(windows)) / (1 + count)) + 1).to(torch.float32)

    def draw(self, width: int, weight: torch.Tensor | None = None) -> torch.Tensor:
        """A vector for each token, float32 (tokens, width): the sum over its runs, each by its weight (runs,)."""
        runs = torch.randn(self.held.shape[1], width)
        rows = self.held @ (runs if weight is None else runs * weight.unsqueeze(1)).numpy()
        return torch.from_numpy(rows)


def runs_of(token: str) -> list[str]:
    """The token itself, told apart from a run of the same letters, and its runs, each as often as it stands there."""
    sizes = range(SHORTEST, LONGEST + 1)
    return [f"={token}", *(token[at : at + size] for size in sizes for at in range(len(token) - size + 1))]
