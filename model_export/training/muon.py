"""Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/): filters move by orthogonalised momentum.

Convolutions are matrices (filters, values that each sees); their momentum is brought near the closest orthogonal
matrix, so that every direction moves alike. All other weights move by AdamW. torch.optim.Muon takes matrices alone,
and works in bfloat16, which many processors are slow at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

MOMENTUM = 0.95
BETAS = (0.9, 0.99)
EPSILON = 1e-8
STEPS = 4
"""Newton-Schulz steps."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that the post derives: it lifts small singular values fastest, and leaves all within 0.7 to 1.2."""
ADAM_SIZE = 0.2
"""Root mean square of a move at rate 1, about that of AdamW (Liu et al. 2025): one rate serves both."""


class Muon(torch.optim.Optimizer):
    """One learning rate for both kinds of weights; weight decay as AdamW's."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, rate: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient; without a closure."""
        if closure is not None:
            raise ValueError("takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                move = _filter_move if weight.ndim == 4 and weight.shape[1] > 1 else _adam_move
                weight.sub_(move(weight.grad, self.state[weight]) * group["lr"])


def _filter_move(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """Nesterov momentum, orthogonalised: the same shape, with root mean square ADAM_SIZE."""
    momentum = state.setdefault("momentum", torch.zeros_like(gradient))
    momentum.mul_(MOMENTUM).add_(gradient)
    matrix = (gradient + MOMENTUM * momentum).flatten(1)
    size = ADAM_SIZE * math.sqrt(max(matrix.shape))
    return (orthogonalise(matrix) * size).view_as(gradient)


def _adam_move(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    first = state.setdefault("first", torch.zeros_like(gradient))
    second = state.setdefault("second", torch.zeros_like(gradient))
    count = state.setdefault("count", torch.zeros(()))
    count += 1
    first.lerp_(gradient, 1 - BETAS[0])
    second.lerp_(gradient.square(), 1 - BETAS[1])
    steps = float(count)
    move: torch.Tensor = first / (1 - BETAS[0] ** steps) / ((second / (1 - BETAS[1] ** steps)).sqrt() + EPSILON)
    return move


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix of the same shape with the same singular vectors, and singular values near 1."""
    tall = matrix.shape[0] > matrix.shape[1]
    rows = matrix.T if tall else matrix
    rows = rows / (rows.norm() + 1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(STEPS):
        square = rows @ rows.T
        rows = first * rows + (third * square + fifth * square @ square) @ rows
    back: torch.Tensor = rows.T if tall else rows
    return back
