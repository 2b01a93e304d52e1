"""Each item of a batch in one pair only: what a twin sees that takes pairs one by one and embeds both sides of each.

There to be measured against all pairs of a batch, which the same embeddings give; see docs/results.md.
"""

from __future__ import annotations

import torch
from pytorch_metric_learning.miners import BaseMiner

Pairs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class SinglePairs(BaseMiner):  # type: ignore[misc]  # pytorch-metric-learning is not typed
    """Call it with (vectors, labels); gives places: firsts and seconds of genuine pairs, then of impostor pairs.

    Half of the pairs are genuine where every identity has an even number of items; it draws from torch's generator.
    """

    def mine(self, embeddings: torch.Tensor, labels: torch.Tensor, ref_emb: object, ref_labels: object) -> Pairs:  # noqa: ARG002
        """Identities in drawn order, their items two by two; then every other pair swaps its second with the next."""
        identities, identity = torch.unique(labels, return_inverse=True)
        order = torch.argsort(torch.rand(len(identities), device=labels.device)[identity])
        first, second = order[: len(order) // 2 * 2].reshape(-1, 2).T.clone()
        second[1::2] = second[1::2].roll(1)
        same = labels[first] == labels[second]
        return first[same], second[same], first[~same], second[~same]
