"""Random frames and light for a batch of photographs: a part of each, mirrored, brighter, flatter or paler."""

from __future__ import annotations

import torch
from torch.nn import functional

from model_export import recipe
from model_export.augment import Batch


def augment(batch: Batch, choice: recipe.PhotographAugmentation) -> Batch:
    """Change uint8 pixels (batch, height, width, channels) to float32 ones of the same shape, within 0 and 255."""
    levels = reframe(batch["pixels"].permute(0, 3, 1, 2).to(torch.float32), choice)
    if choice.saturation:
        grey = levels.mean(dim=1, keepdim=True)
        levels = grey + (levels - grey) * _factor(len(levels), choice.saturation)
    if choice.contrast:
        middle = levels.mean(dim=(1, 2, 3), keepdim=True)
        levels = middle + (levels - middle) * _factor(len(levels), choice.contrast)
    if choice.brightness:
        levels = levels * _factor(len(levels), choice.brightness)
    return {"pixels": levels.clamp(0.0, 255.0).permute(0, 2, 3, 1)}


def reframe(levels: torch.Tensor, choice: recipe.PhotographAugmentation) -> torch.Tensor:
    """Cut each picture by its own draw, one share for both sides, and bring it back to size; never beyond its edges."""
    count = len(levels)
    kept = 1.0 - torch.rand(count) * choice.crop
    sign = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if choice.mirror else torch.ones(count)
    across, down = ((torch.rand(count) * 2 - 1) * (1.0 - kept) for _ in range(2))
    nothing = torch.zeros(count)
    theta = torch.stack(
        [torch.stack([kept * sign, nothing, across], dim=1), torch.stack([nothing, kept, down], dim=1)], dim=1
    )
    grid = functional.affine_grid(theta, list(levels.shape), align_corners=False)
    return functional.grid_sample(levels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _factor(count: int, spread: float) -> torch.Tensor:
    """Uniform in 1 +-, one a picture: (batch, 1, 1, 1)."""
    return 1.0 + (torch.rand(count, 1, 1, 1) * 2 - 1) * spread
