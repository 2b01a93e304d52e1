"""What moves the weights: optimisers, how the learning rate goes, and averages of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from model_export.recipe import Optimiser, Schedule
from model_export.training.muon import Muon

Module = TypeVar("Module", bound=nn.Module)


def make_optimiser(choice: Optimiser, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser a recipe names, for groups of {"params": ..., "lr": ...}.

    Each group keeps its rate as `full_rate`, which set_rate scales.
    """
    kept = [{**group, "full_rate": group["lr"]} for group in groups]
    if choice.name == "sgd":
        return torch.optim.SGD(
            kept, lr=choice.learning_rate, momentum=choice.momentum, weight_decay=choice.weight_decay
        )
    if choice.name == "muon":
        return Muon(kept, rate=choice.learning_rate, weight_decay=choice.weight_decay)
    return torch.optim.AdamW(kept, lr=choice.learning_rate, weight_decay=choice.weight_decay)


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's learning rate for the step to come."""
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the learning rate at a step, 0 being the first of `steps`: a straight rise, then as named."""
    warmup = schedule.warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if schedule.name == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_average(network: nn.Module, decay: float) -> AveragedModel:
    """A moving average of weights and of the figures that batch norm keeps; update it after each step.

    Of n steps it keeps at most (1 + n) / (10 + n) of itself, as TensorFlow's ExponentialMovingAverage does, so that the
    untrained weights are soon forgotten.
    """

    def blend(average: torch.Tensor, fresh: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        seen = int(count)
        return average + (fresh - average) * (1 - min(decay, (1 + seen) / (10 + seen)))

    return AveragedModel(network, avg_fn=blend, use_buffers=True)


def blend_weights(network: Module, first: Mapping[str, torch.Tensor], share: float) -> Module:
    """A copy of a network whose weights are `share` parts of the `first` ones, by their names, and the rest its own."""
    blended = copy.deepcopy(network)
    for name, weight in blended.state_dict().items():
        if weight.is_floating_point():
            weight.lerp_(first[name], share)
    return blended
