"""What may stand before an encoder of pictures: what is drawn, brought to one place and one size.

Two people draw a character at two places and in two sizes. A network must learn that neither counts; here both are
taken out before it, by the moments of the ink (Hu 1962; for handwriting: Casey 1970, "Moment normalization of
handprinted characters"), so that its pixels all go to what is drawn.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

PALE = 0.2
"""Ink up to here, of 1, counts as paper when place and size are measured: the grain of a photograph is no drawing."""
SMALLEST = 0.05
"""The least spread that is measured, as a share of half the side: a dot is not blown up to the whole picture."""


class Centring(nn.Module):
    """Ink float32 (batch, 1, height, width), 0 paper and 1 ink, -> the same at (batch, 1, side, side).

    The centre of mass comes to the middle, and the spread of the ink around it, the root of the mean variance along
    both axes, becomes `spread` of the side; proportions stay. What lies beyond the picture is paper. In training both
    still vary a little, by `jitter`: another drawer's stray stroke moves them too.
    """

    down: torch.Tensor
    across: torch.Tensor
    to_grid: torch.Tensor
    grid: torch.Tensor

    def __init__(self, *, size: tuple[int, int], side: int, spread: float, jitter: float) -> None:
        super().__init__()
        self.spread = spread
        self.jitter = jitter
        height, width = size
        self.longer = max(height, width)
        # Pixel middles in units of half the longer side, so that a unit is as long across as down.
        self.register_buffer("down", _middles(height) * height / self.longer, persistent=False)
        self.register_buffer("across", _middles(width) * width / self.longer, persistent=False)
        self.register_buffer("to_grid", torch.tensor([self.longer / width, self.longer / height]), persistent=False)
        rows, columns = torch.meshgrid(_middles(side), _middles(side), indexing="ij")
        self.register_buffer("grid", torch.stack([columns, rows], dim=-1).unsqueeze(0), persistent=False)

    def forward(self, ink: torch.Tensor) -> torch.Tensor:
        """Measure each picture, then look up every pixel of the new one in it, linearly between four."""
        middle, scale = self.measure(ink)
        if self.training and self.jitter:
            middle = middle + torch.randn_like(middle) * self.jitter * scale
            scale = scale * torch.exp(torch.randn_like(scale) * self.jitter)
        wanted = (middle.view(-1, 1, 1, 2) + self.grid * scale.view(-1, 1, 1, 2)) * self.to_grid
        return functional.grid_sample(ink, wanted, mode="bilinear", padding_mode="zeros", align_corners=False)

    def measure(self, ink: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Centre of mass, across and down from the middle, and half the side of the square to be cut around it.

        Both float32 (batch, 2) in units of half the longer side.
        """
        mass = (ink[:, 0] - PALE).clamp_min(0.0)
        columns, rows = mass.sum(dim=1), mass.sum(dim=2)
        total = rows.sum(dim=1, keepdim=True).clamp_min(1e-3)
        x = (columns * self.across).sum(dim=1, keepdim=True) / total
        y = (rows * self.down).sum(dim=1, keepdim=True) / total
        wide = (columns * (self.across - x).square()).sum(dim=1, keepdim=True) / total
        tall = (rows * (self.down - y).square()).sum(dim=1, keepdim=True) / total
        spread = torch.sqrt((wide + tall) / 2).clamp_min(SMALLEST)
        return torch.cat([x, y], dim=1), (spread / (2 * self.spread)).expand(-1, 2)


def _middles(count: int) -> torch.Tensor:
    """Where the middles of pixels lie between -1 and 1: float32 (count,)."""
    return (torch.arange(count, dtype=torch.float32) * 2 + 1) / count - 1
