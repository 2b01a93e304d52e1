"""The collapse detector: does the encoder still tell items apart?

A metric-learning loss can be kept low, or at least from rising, by an encoder that says the same of everything. Then
training goes on for nothing. After each round three signs are read off the validation items and the loss: how far
embeddings spread, in how many directions, and whether the loss is that of a constant encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_export.recipe import Recipe

POINT_SPREAD = 1e-3
"""Below it cosines of all pairs lie within some thousandths of 1. Encoders that learn were above 0.05; see tests."""
LINE_RANK = 1.5
CHANCE_AUC = 0.6
"""Above it an encoder tells something apart, however few its directions: two classes need no more than one."""
PINNED_SHARE = 0.98
LEAST_GAIN = 0.02
POINT_LOOKS, PINNED_LOOKS = 2, 3
"""Looks in a row that must agree."""
RANK_ROWS = 1000
"""Of more vectors so many are taken for the rank, whose cost grows with their square."""


@dataclass(frozen=True)
class Signs:
    """What a look saw: `loss` is the round's mean, `constant_loss` what a constant encoder gets on the same labels."""

    step: int
    auc: float
    spread: float
    effective_rank: float
    loss: float
    constant_loss: float


def spread(vectors: npt.NDArray[np.float32]) -> float:
    """Variance of the vectors (n, d) as a share of their mean square: 0 for one point, about 1 around the origin."""
    rows = vectors.astype(np.float64)
    power = float((rows * rows).sum(axis=1).mean())
    centred = rows - rows.mean(axis=0)
    return float((centred * centred).sum(axis=1).mean()) / power if power > 0 else 0.0


def effective_rank(vectors: npt.NDArray[np.float32]) -> float:
    """In how many directions the vectors (n, d) spread around their mean, 1 to d; 1 for a point.

    The exponential of the entropy of the singular values, scaled to sum to 1 (Roy and Vetterli 2007).
    """
    rows = vectors[:: -(-len(vectors) // RANK_ROWS)].astype(np.float64)
    values = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    if not values.sum() > 0:
        return 1.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def find_collapse(recipe: Recipe, looks: Sequence[Signs], untrained_auc: float) -> str | None:
    """What is wrong and what to change, in one line, or None; `looks` are in order, the newest last.

    Looks during the warm-up do not count: an untrained encoder may look like a collapsed one.
    """
    looks = [look for look in looks if look.step > recipe.schedule.warmup_steps]
    if not looks:
        return None
    last, dimension = looks[-1], recipe.encoder.dimension
    seen = f"spread {last.spread:.1e} of 1, effective rank {last.effective_rank:.1f} of {dimension}"
    if _all(looks, POINT_LOOKS, lambda look: look.spread < POINT_SPREAD):
        return f"collapse: all validation items lie on one point ({seen}): {_advice(recipe)}"
    if dimension > 2 and _all(
        looks, POINT_LOOKS, lambda look: look.effective_rank < LINE_RANK and look.auc < CHANCE_AUC
    ):
        return f"collapse: all validation items lie on one line, at AUC {last.auc:.2f} ({seen}): {_advice(recipe)}"
    if _all(looks, PINNED_LOOKS, lambda look: _pinned(look, untrained_auc)):
        return (
            f"collapse: the loss stays at {last.loss:.3f}, and an encoder that says the same of everything has "
            f"{last.constant_loss:.3f}; validation AUC {last.auc:.2f}, {untrained_auc:.2f} untrained ({seen}): "
            f"see whether the labels belong to the items; {_advice(recipe)}"
        )
    return None


def _pinned(look: Signs, untrained_auc: float) -> bool:
    nothing_learnt = look.auc < min(CHANCE_AUC, untrained_auc + LEAST_GAIN) or look.auc < 0.5 + LEAST_GAIN
    return nothing_learnt and look.loss >= PINNED_SHARE * look.constant_loss


def _all(looks: Sequence[Signs], count: int, test: Callable[[Signs], bool]) -> bool:
    return len(looks) >= count and all(test(look) for look in looks[-count:])


def _advice(recipe: Recipe) -> str:
    """What to change, the likeliest first."""
    schedule, rate = recipe.schedule, recipe.optimiser.learning_rate
    changes = [f"lower optimiser.learning_rate (now {rate:g})"]
    if recipe.miner.name == "batch_hard":
        changes.append("set miner.name to semi_hard or none, since the hardest triplets pull everything together at first")
    if recipe.optimiser.clip_norm is None:
        changes.append("set optimiser.clip_norm to 1")
    changes.append(f"raise schedule.warmup_steps (now {schedule.warmup_steps})")
    return f"{', '.join(changes)}; or set schedule.stop_on_collapse to false to train on"
