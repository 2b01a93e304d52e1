"""Random distortion of a batch of drawn pictures: rotation, shear, scale and shift, another pen, and quarter turns."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from model_export import recipe
from model_export.augment import Batch


def augment(batch: Batch, labels: torch.Tensor, choice: recipe.PictureAugmentation) -> tuple[Batch, torch.Tensor]:
    """Distort uint8 pixels (batch, height, width, channels) to float32 ones; some batches become other identities.

    What comes in from beyond the edge is 255, paper. Where batches are turned, an upright identity's label is 4 times
    its own in those that are not, so that a label means one identity in all batches.
    """
    ink = 255.0 - batch["pixels"].permute(0, 3, 1, 2).to(torch.float32)
    if torch.rand(()) < choice.quarter_turn_share:
        ink, labels = turn_identities(ink, labels)
    elif choice.quarter_turn_share:
        labels = labels * 4
    ink = distort(ink, choice)
    if choice.thickness:
        ink = change_pen(ink, choice.thickness)
    return {"pixels": 255.0 - ink.permute(0, 2, 3, 1)}, labels


def distort(ink: torch.Tensor, choice: recipe.PictureAugmentation) -> torch.Tensor:
    """Rotate, shear, scale and shift each picture by its own draw; float32 (batch, channels, height, width)."""
    count = len(ink)

    def draw(spread: float) -> torch.Tensor:
        return (torch.rand(count) * 2 - 1) * spread

    angle = draw(math.radians(choice.rotation_degrees))
    shear_x, shear_y = (
        torch.tan(draw(math.radians(choice.shear_degrees))),
        torch.tan(draw(math.radians(choice.shear_degrees))),
    )
    scale_x, scale_y = 1 + draw(choice.scale), 1 + draw(choice.scale)
    # affine_grid maps output to input coordinates, both in [-1, 1]; hence shifts count double.
    theta = torch.stack(
        [
            torch.stack([scale_x * torch.cos(angle), shear_x - torch.sin(angle), 2 * draw(choice.shift)], dim=1),
            torch.stack([shear_y + torch.sin(angle), scale_y * torch.cos(angle), 2 * draw(choice.shift)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, list(ink.shape), align_corners=False)
    return functional.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def change_pen(ink: torch.Tensor, most: float) -> torch.Tensor:
    """Strokes thicker or thinner by up to `most` of a pixel on each side, a draw a picture; shape as given.

    Between the picture and its greyscale dilation, or erosion, by 3 x 3 pixels (Serra 1982).
    """
    share = (torch.rand(len(ink), 1, 1, 1) * 2 - 1) * most
    thick, thin = functional.max_pool2d(ink, 3, 1, 1), -functional.max_pool2d(-ink, 3, 1, 1)
    return ink + torch.where(share > 0, thick - ink, ink - thin) * share


def turn_identities(ink: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn every identity by its own number of quarter turns and give turned ones labels of their own.

    labels: int64 (batch,). A turned character is another character, so turns multiply the identities by four.
    """
    identities, position = torch.unique(labels, return_inverse=True)
    turns = torch.randint(0, 4, (len(identities),))[position]
    turned = torch.stack([torch.rot90(picture, int(k), (1, 2)) for picture, k in zip(ink, turns, strict=True)])
    return turned, labels * 4 + turns
