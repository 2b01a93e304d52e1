"""What stands before a sequence encoder: token ids or measured steps become float32 (batch, steps, width) and a mask.

The encoders behind it then need not know which of the two they are fed.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class TokenFront(nn.Module):
    """Token ids int64 (batch, tokens) with attention_mask int64 -> their embeddings and a float32 mask."""

    inputs = ("input_ids", "attention_mask")

    def __init__(self, *, vocabulary: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.table = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed each token; what stands in padded places is 0."""
        real = mask.to(torch.float32)
        return self.table(ids) * real.unsqueeze(-1), real


class StepFront(nn.Module):
    """Measured steps float32 (batch, steps, channels) with their mask: averaged, levelled, in that order, as declared.

    Each `every` steps are averaged into one. Where `level` is not 0, the mean of so many steps around each is taken
    off, which takes away a drifting baseline, and each channel is divided by its deviation over the window.
    """

    def __init__(self, *, name: str, channels: int, every: int, level: int) -> None:
        super().__init__()
        self.inputs = (name, "mask")
        self.width = channels
        self.every = every
        self.level = level

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, steps / every rounded up, channels), and a mask that is 1 where any real step went in."""
        rows, real = (values * mask.unsqueeze(-1)).transpose(1, 2), mask.unsqueeze(1)
        if self.every > 1:
            rows, counts = self._add_up(rows), self._add_up(real)
            rows, real = rows / counts.clamp_min(1.0), counts.clamp_max(1.0)
        if self.level:
            rows = (rows - _around(rows, self.level) / _around(real, self.level).clamp_min(1.0)) * real
            power = (rows * rows).sum(dim=2, keepdim=True) / real.sum(dim=2, keepdim=True).clamp_min(1.0)
            rows = rows * torch.rsqrt(power.clamp_min(1e-8))
        return rows.transpose(1, 2), real.squeeze(1)

    def _add_up(self, rows: torch.Tensor) -> torch.Tensor:
        """Sum each `every` steps: (batch, channels, steps) -> (batch, channels, steps / every rounded up)."""
        padded = functional.pad(rows, (0, self.every - 1))
        return functional.conv1d(padded, _ones(rows, self.every), stride=self.every, groups=rows.shape[1])


def _around(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Sum of the `size` steps around each, an odd number: (batch, channels, steps) -> the same shape."""
    return functional.conv1d(rows, _ones(rows, size), padding=size // 2, groups=rows.shape[1])


def _ones(rows: torch.Tensor, size: int) -> torch.Tensor:
    return torch.ones((rows.shape[1], 1, size), dtype=rows.dtype, device=rows.device)


Front = TokenFront | StepFront
