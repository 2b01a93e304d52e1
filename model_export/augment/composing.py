"""Characters that nobody draws: two pictures of a batch put into one, as an identity of its own.

Alphabets tell characters apart by what stands beside, above or in a corner of a common body. Such pairs are rare among
few training alphabets, and here are made without end: the same two characters in the same arrangement, each drawn by
several people, are one new identity, which shares either half with others of the batch.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

SIZE_SPREAD = 0.08
"""Standard deviation of the logarithm of a part's size, from drawing to drawing."""
PLACE_SPREAD = 0.05
"""Standard deviation of where a part stands, in half sides."""


def compose_identities(ink: torch.Tensor, labels: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace this share of a batch's identities, rounded, by pairs of others of the batch.

    ink float32 (batch, channels, height, width), 0 paper; labels int64 (batch,). New labels are above all given ones
    and mean nothing in another batch.
    """
    identities, position = torch.unique(labels, return_inverse=True)
    count = round(share * len(identities))
    if count == 0 or len(identities) < 2:
        return ink, labels
    slots, first, second, layout = [], [], [], []
    labels = labels.clone()
    for number, replaced in enumerate(torch.randperm(len(identities))[:count]):
        own = torch.nonzero(position == replaced).flatten()
        one, other = torch.randperm(len(identities))[:2]
        slots.append(own)
        first.append(_some(position == one, len(own)))
        second.append(_some(position == other, len(own)))
        layout.append(_draw_layout().repeat(len(own), 1, 1))
        labels[own] = int(identities[-1]) + 1 + number
    places = torch.cat(layout)
    made = torch.maximum(_place(ink[torch.cat(first)], places[:, 0]), _place(ink[torch.cat(second)], places[:, 1]))
    ink = ink.clone()
    ink[torch.cat(slots)] = made
    return ink, labels


def _some(mask: torch.Tensor, count: int) -> torch.Tensor:
    """`count` of the items where mask is true, in random order, over again where they are fewer."""
    items = torch.nonzero(mask).flatten()
    return items[torch.randperm(len(items))].repeat(-(-count // len(items)))[:count]


def _draw_layout() -> torch.Tensor:
    """Width, height, and middle across and down of two parts, float32 (2, 4), in half sides."""
    kind = int(torch.randint(0, 3, ()))
    if kind == 0:
        return torch.tensor([[0.55, 1.0, -0.45, 0.0], [0.55, 1.0, 0.45, 0.0]])
    if kind == 1:
        return torch.tensor([[1.0, 0.55, 0.0, -0.45], [1.0, 0.55, 0.0, 0.45]])
    small, angle = float(torch.empty(()).uniform_(0.3, 0.5)), float(torch.rand(())) * 2 * math.pi
    across, down = math.cos(angle), math.sin(angle)
    return torch.tensor([[0.75, 0.75, -0.2 * across, -0.2 * down], [small, small, 0.62 * across, 0.62 * down]])


def _place(ink: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Each picture made smaller and moved as its row of `part` (batch, 4) says, a little otherwise each."""
    size = part[:, :2] * torch.exp(torch.randn(len(part), 2) * SIZE_SPREAD)
    middle = part[:, 2:] + torch.randn(len(part), 2) * PLACE_SPREAD
    # affine_grid maps output to input coordinates, hence the inverse
    theta = torch.cat([torch.diag_embed(1 / size), (-middle / size).unsqueeze(2)], dim=2)
    grid = functional.affine_grid(theta, list(ink.shape), align_corners=False)
    return functional.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
