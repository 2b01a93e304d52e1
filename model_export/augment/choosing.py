"""Which distortion a recipe names."""

from __future__ import annotations

import torch

from model_export import recipe
from model_export.augment import Batch, pictures, sequences, texts


def augment(batch: Batch, labels: torch.Tensor, choice: recipe.AugmentationChoice) -> tuple[Batch, torch.Tensor]:
    """Distort a batch as the recipe says; labels int64 (batch,) change where a distortion makes other identities."""
    if isinstance(choice, recipe.PictureAugmentation):
        return pictures.augment(batch, labels, choice)
    if isinstance(choice, recipe.SequenceAugmentation):
        return sequences.augment(batch, choice), labels
    if isinstance(choice, recipe.TextAugmentation):
        return texts.augment(batch, choice), labels
    return batch, labels
