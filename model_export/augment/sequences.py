"""Random distortion of measured steps: another pace, another voice, another gain, noise, and stretches that are hidden.

Hidden stretches are those of Park et al. 2019 (SpecAugment); a warp of the bands stands for another vocal tract, as in
Jaitly and Hinton 2013.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from model_export import recipe
from model_export.augment import Batch


def augment(batch: Batch, choice: recipe.SequenceAugmentation) -> Batch:
    """Distort {name: float32 (batch, steps, channels), "mask": float32 (batch, steps)}; steps may grow."""
    (name,) = set(batch) - {"mask"}
    values, mask = batch[name], batch["mask"]
    if choice.stretch:
        size = max(2, round(values.shape[1] * (1 + _draw(()).item() * choice.stretch)))
        values = functional.interpolate(values.transpose(1, 2), size=size, mode="linear").transpose(1, 2)
        mask = functional.interpolate(mask.unsqueeze(1), size=size, mode="nearest").squeeze(1)
    if choice.warp:
        values = _warp(values, 1 + _draw(()).item() * choice.warp)
    count = len(values)
    if choice.gain:
        gain = _draw((count, 1, 1)) * choice.gain
        values = values + gain if name == "features" else values * torch.exp(gain)
    if choice.noise:
        values = values + torch.randn_like(values) * choice.noise * torch.rand((count, 1, 1))
    shown = _shown(count, values.shape[1], choice.hide_steps).unsqueeze(2)
    shown = shown * _shown(count, values.shape[2], choice.hide_bands).unsqueeze(1)
    return {name: values * shown * mask.unsqueeze(-1), "mask": mask}


def _draw(shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform in +-1."""
    return torch.rand(shape) * 2 - 1


def _warp(values: torch.Tensor, factor: float) -> torch.Tensor:
    """Read band k where band k * factor was; above the highest, the highest."""
    bands = values.shape[2]
    place = (torch.arange(bands) * factor).clamp_max(bands - 1)
    below = place.floor().long()
    share = place - below
    above = (below + 1).clamp_max(bands - 1)
    return values[:, :, below] * (1 - share) + values[:, :, above] * share


def _shown(count: int, size: int, most: float) -> torch.Tensor:
    """1, but 0 in one stretch a row of at most the share `most`: float32 (count, size)."""
    length = torch.rand((count, 1)) * most * size
    start = torch.rand((count, 1)) * (size - length)
    place = torch.arange(size).unsqueeze(0)
    return 1.0 - ((place >= start) & (place < start + length)).to(torch.float32)
