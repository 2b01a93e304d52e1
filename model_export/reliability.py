"""Are calibrated posteriors true? Posteriors at a prior of one half, beside the share of genuine pairs observed there.

The reliability diagram of DeGroot & Fienberg 1983, "The comparison and evaluation of forecasters": points on the
diagonal are what a perfect ratio gives. Both kinds of pairs weigh one half, and every unit (pair) of a kind the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from app.core.evidence.resampling import Resampled
from app.core.scoring import Float32
from model_export.figures import FEWEST_UNITS, Float64, pair_draws

POSTERIORS = np.linspace(0.1, 0.9, 9)
"""Edges between the bins."""


@dataclass(frozen=True)
class Reliability:
    """By bin that holds any pair, all (bins,): mean posterior, share of genuine weight with 95 % percentiles, pairs."""

    posterior: Float64
    observed: Float64
    low: Float64
    high: Float64
    pairs: npt.NDArray[np.int64]


def measure_reliability(
    ratios: Float64, genuine: Resampled, impostor: Resampled, pairs: tuple[Float32, Float32]
) -> Reliability:
    """Of natural-log ratios by fine bin (fine bins,), of samples in these bins, and of every pair, to count them."""
    edges = logit(POSTERIORS)
    coarse = np.searchsorted(edges, ratios, side="right")
    count = len(edges) + 1
    member = np.zeros((len(ratios), count))
    member[np.arange(len(ratios)), coarse] = 1.0
    mine = genuine.point @ member
    weight = (genuine.point + impostor.point) @ member
    filled = weight > 0.0
    posterior = ((genuine.point + impostor.point) * expit(ratios)) @ member
    observed = mine[filled] / weight[filled]
    low, high = np.zeros_like(observed), np.ones_like(observed)
    if min(genuine.clusters, impostor.clusters) >= FEWEST_UNITS:
        drawn, against = ((side @ member)[:, filled] for side in pair_draws(genuine, impostor))
        total = drawn + against
        # a draw that leaves a bin empty says nothing of it
        shares = np.divide(drawn, total, out=np.full_like(total, np.nan), where=total > 0.0)
        low, high = np.nanquantile(shares, (0.025, 0.975), axis=0)
    seen = sum(np.bincount(np.searchsorted(edges, side, side="right"), minlength=count) for side in pairs)
    return Reliability(
        posterior=posterior[filled] / weight[filled],
        observed=observed,
        low=np.minimum(low, observed),
        high=np.maximum(high, observed),
        pairs=np.asarray(seen)[filled],
    )
