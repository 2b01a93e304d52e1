"""Random distortion of a batch of pictures, and turns that make other identities of those it holds.

Rotation, shear, scale, shift and a smooth unevenness are one lookup; then strokes grow or thin.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch.nn import functional

from model_export import recipe
from model_export.augment import Batch
from model_export.augment.composing import compose_identities

KNOTS = 5
"""Points along each side that move by their own draw in an elastic distortion."""
QUARTER_TURNS = 4
WAYS_TO_TURN = 2 * QUARTER_TURNS
"""Four quarter turns, of the picture and of its mirror image."""


def augment(batch: Batch, labels: torch.Tensor, choice: recipe.PictureAugmentation) -> tuple[Batch, torch.Tensor]:
    """Distort uint8 pixels (batch, height, width, channels) to float32 ones; some batches become other identities.

    What comes in from beyond the edge is 255, paper. Where batches are turned, an upright identity's label is 4 or 8
    times its own in those that are not, so that a label means one identity in all batches.
    """
    ink = 255.0 - batch["pixels"].permute(0, 3, 1, 2).to(torch.float32)
    if choice.quarter_turn_share:
        turned = torch.rand(()) < choice.quarter_turn_share
        ink, labels = turn_identities(ink, labels) if turned else (ink, labels * QUARTER_TURNS)
    if choice.turned_batch_share:
        turned = torch.rand(()) < choice.turned_batch_share
        ink, labels = turn_batch(ink, labels) if turned else (ink, labels * WAYS_TO_TURN)
    if choice.composed_share:
        ink, labels = compose_identities(ink, labels, choice.composed_share)
    ink = distort(ink, choice)
    if choice.thickness:
        ink = thicken(ink, _draw(len(ink), choice.thickness))
    return {"pixels": 255.0 - ink.permute(0, 2, 3, 1)}, labels


def identities_each(choice: recipe.PictureAugmentation) -> int:
    """How many identities turns make of one; composed ones are not counted, each is new."""
    if choice.turned_batch_share:
        return WAYS_TO_TURN
    return QUARTER_TURNS if choice.quarter_turn_share else 1


def distort(ink: torch.Tensor, choice: recipe.PictureAugmentation) -> torch.Tensor:
    """Rotate, shear, scale, shift and warp each picture by its own draw; float32 (batch, channels, height, width)."""
    count = len(ink)
    angle = _draw(count, math.radians(choice.rotation_degrees))
    shear_x = torch.tan(_draw(count, math.radians(choice.shear_degrees)))
    shear_y = torch.tan(_draw(count, math.radians(choice.shear_degrees)))
    scale_x, scale_y = 1 + _draw(count, choice.scale), 1 + _draw(count, choice.scale)
    # The grid maps output to input coordinates, both in [-1, 1]; hence shifts, and shares of the side, count double.
    shift_x, shift_y = _draw(count, 2 * choice.shift), _draw(count, 2 * choice.shift)
    across = torch.stack([scale_x * torch.cos(angle), shear_x - torch.sin(angle), shift_x], dim=1)
    down = torch.stack([shear_y + torch.sin(angle), scale_y * torch.cos(angle), shift_y], dim=1)
    grid = _affine_grid(torch.stack([across, down], dim=1), ink.shape[2], ink.shape[3])
    if choice.elastic:
        grid = grid + _bend(count, 2 * choice.elastic, ink.shape[2], ink.shape[3])
    return functional.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def thicken(ink: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Mix each picture with itself grown by a pixel all round, or thinned by one where its amount is below 0.

    ink float32 (batch, channels, height, width), 0 paper; amount (batch,) within -1..1.
    """
    amount = amount.view(-1, 1, 1, 1)
    grown = torch.where(amount > 0, _widest(ink), -_widest(-ink))
    return ink + (grown - ink) * amount.abs()


def turn_identities(ink: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn every identity by its own number of quarter turns and give turned ones labels of their own.

    labels: int64 (batch,). A turned character is another character, so turns multiply the identities by four.
    """
    identities, position = torch.unique(labels, return_inverse=True)
    turns = torch.randint(0, QUARTER_TURNS, (len(identities),))[position]
    turned = torch.stack([torch.rot90(picture, int(k), (1, 2)) for picture, k in zip(ink, turns, strict=True)])
    return turned, labels * QUARTER_TURNS + turns


def turn_batch(ink: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn or mirror a whole batch in one of seven ways, as identities of their own.

    What two characters of an alphabet share they then still share, so that they stay hard to tell apart.
    """
    way = int(torch.randint(1, WAYS_TO_TURN, ()))
    mirrored = ink.flip(3) if way >= QUARTER_TURNS else ink
    return torch.rot90(mirrored, way % QUARTER_TURNS, (2, 3)), labels * WAYS_TO_TURN + way


def _draw(count: int, spread: float) -> torch.Tensor:
    return (torch.rand(count) * 2 - 1) * spread


def _affine_grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """torch's affine_grid without aligned corners, written out: its many small products take longer than the lookup."""
    x, y = _middles(width).view(1, 1, -1, 1), _middles(height).view(1, -1, 1, 1)
    rows = theta[:, None, None]
    return x * rows[..., 0] + y * rows[..., 1] + rows[..., 2]


def _middles(count: int) -> torch.Tensor:
    return (torch.arange(count) * 2 + 1) / count - 1


def _bend(count: int, spread: float, height: int, width: int) -> torch.Tensor:
    """How far each pixel moves, float32 (count, height, width, 2): KNOTS x KNOTS draws and smooth ones between."""
    moves = torch.randn(count, 2, KNOTS, KNOTS) * spread
    return (_smooth(height) @ moves @ _smooth(width).T).permute(0, 2, 3, 1)


@cache
def _smooth(count: int) -> torch.Tensor:
    """Bicubic weights (count, KNOTS) of KNOTS points from edge to edge."""
    unit = torch.eye(KNOTS).view(1, 1, KNOTS, KNOTS)
    return functional.interpolate(unit, (count, KNOTS), mode="bicubic", align_corners=True)[0, 0]


def _widest(ink: torch.Tensor) -> torch.Tensor:
    """The largest value of each pixel and its eight neighbours, one axis after the other."""
    for axis in (2, 3):
        length = ink.shape[axis]
        before = torch.cat([ink.narrow(axis, 0, 1), ink.narrow(axis, 0, length - 1)], dim=axis)
        after = torch.cat([ink.narrow(axis, 1, length - 1), ink.narrow(axis, length - 1, 1)], dim=axis)
        ink = torch.maximum(torch.maximum(before, ink), after)
    return ink
