"""Which distortion a recipe names."""

from __future__ import annotations

import torch

from model_export import recipe
from model_export.augment import Batch, photographs, pictures, sequences, texts


def augment(batch: Batch, labels: torch.Tensor, choice: recipe.AugmentationChoice) -> tuple[Batch, torch.Tensor]:
    """Distort a batch as the recipe says; labels int64 (batch,) change where a distortion makes other identities."""
    if isinstance(choice, recipe.PictureAugmentation):
        return pictures.augment(batch, labels, choice)
    if isinstance(choice, recipe.PhotographAugmentation):
        return photographs.augment(batch, choice), labels
    if isinstance(choice, recipe.SequenceAugmentation):
        return sequences.augment(batch, choice), labels
    if isinstance(choice, recipe.TextAugmentation):
        return texts.augment(batch, choice), labels
    return batch, labels


def identities_each(choice: recipe.AugmentationChoice) -> int:
    """How many identities the distortion makes of one: labels grow from 0..n-1 to 0..n * this - 1."""
    return pictures.identities_each(choice) if isinstance(choice, recipe.PictureAugmentation) else 1
