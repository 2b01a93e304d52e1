"""The collapse detector: does the encoder still tell items apart?

A metric-learning loss can be kept low, or at least from rising, by an encoder that says the same of everything. Then
training goes on for nothing. After each round three signs are read off the validation items and the loss: how far
embeddings spread, in how many directions, and whether the loss is that of a constant encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_export.recipe import Recipe

POINT_SPREAD = 1e-2
"""Below it cosines of all pairs lie within some hundredths of 1. Untrained encoders may, but then the spread grows."""
LINE_RANK = 1.5
CHANCE_AUC = 0.6
"""Above it an encoder tells something apart, however few its directions: two classes need no more than one."""
PINNED = 0.98, 1.05
"""The loss as a share of a constant encoder's: one that learns falls below, or was above from the start."""
LEAST_GAIN = 0.02
LOOKS = 3
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
    looks = [look for look in looks if look.step > recipe.schedule.warmup_steps][-LOOKS:]
    if len(looks) < LOOKS:
        return None
    last, dimension = looks[-1], recipe.encoder.dimension
    seen = f"spread {last.spread:.1e} of 1, effective rank {last.effective_rank:.1f} of {dimension}"
    if all(_on_a_point(look) for look in looks) and last.spread <= looks[0].spread:
        return f"collapse: all validation items lie on one point ({seen}): {_advice(recipe)}"
    if dimension > 2 and all(look.effective_rank < LINE_RANK and look.auc < CHANCE_AUC for look in looks):
        return f"collapse: all validation items lie on one line, at AUC {last.auc:.2f} ({seen}): {_advice(recipe)}"
    if all(_is_pinned(look) and look.auc < untrained_auc + LEAST_GAIN for look in looks):
        return (
            f"collapse: the loss stays at {last.loss:.3f}, and an encoder that says the same of everything has "
            f"{last.constant_loss:.3f}; validation AUC {last.auc:.2f}, {untrained_auc:.2f} before training ({seen}): "
            f"see whether the labels belong to the items; {_advice(recipe)}"
        )
    return None


def _on_a_point(look: Signs) -> bool:
    return look.spread < POINT_SPREAD and (look.auc < CHANCE_AUC or _is_pinned(look))


def _is_pinned(look: Signs) -> bool:
    low, high = PINNED
    return low * look.constant_loss <= look.loss <= high * look.constant_loss


def _advice(recipe: Recipe) -> str:
    """What to change, the likeliest first."""
    schedule, rate = recipe.schedule, recipe.optimiser.learning_rate
    changes = [f"lower optimiser.learning_rate (now {rate:g})"]
    if recipe.miner.name == "batch_hard":
        changes.append(
            "set miner.name to semi_hard or none, since the hardest triplets pull everything together at first"
        )
    if recipe.optimiser.clip_norm is None:
        changes.append("set optimiser.clip_norm to 1")
    changes.append(f"raise schedule.warmup_steps (now {schedule.warmup_steps})")
    return f"{', '.join(changes)}; or set schedule.stop_on_collapse to false to train on"
