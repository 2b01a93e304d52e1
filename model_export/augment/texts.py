"""Tokens left out at random: two questions of one intent seldom share all of their words."""

from __future__ import annotations

import torch

from model_export import recipe
from model_export.augment import Batch


def augment(batch: Batch, choice: recipe.TextAugmentation) -> Batch:
    """Take tokens out of attention_mask int64 (batch, tokens), each by its own draw; the first left always stays."""
    mask = batch["attention_mask"]
    kept = mask * (torch.rand(mask.shape) >= choice.hide_tokens)
    empty = kept.sum(dim=1) == 0
    kept[empty] = mask[empty]
    return {**batch, "attention_mask": kept}
