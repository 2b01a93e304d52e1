"""Whether served scores still lie as the calibration's did: the population stability index. No metrics, no clocks.

Nobody labels what is served, and how common matches are is the callers' affair: the reference is therefore the mixture
of the measured kinds of pairs (genuine, and each impostor type of this population) that fits the served scores best.
What is left between the two is what no other share of matches explains.

PSI = sum over groups of (p - q) ln(p / q), p the served share and q the reference's; by convention below 0.1 is
nothing, above 0.25 a shift (Siddiqi, Credit Risk Scorecards, 2006). Without any drift about (groups - 1) / scores is
expected (Yurdakul, Statistical Properties of Population Stability Index, 2018), hence FEWEST_SCORES.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence.calibration import Calibration

FEWEST_SCORES = 500
GROUPS = 10
STEPS = 1000
FLOOR = 1e-6
"""Share that every kind has in every bin at least: a score never seen in the sample is unlikely, not impossible."""

_Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreDrift:
    """How far served scores lie from the sample, and the share of matching pairs that fits them best (0..1)."""

    stability_index: float
    match_share: float


def score_edges(calibration: Calibration) -> tuple[float, ...]:
    """The bounds between the bins of served scores, rising: those of the calibration's histogram."""
    return calibration.histogram.edges


def measure_drift(calibration: Calibration, counts: Sequence[float]) -> ScoreDrift | None:
    """The drift of served scores, counted in the bins of `score_edges`: below the first edge, between, above the last.

    None for fewer than FEWEST_SCORES, which say nothing. Raises ValueError for counts that do not fit the edges.
    """
    edges = calibration.histogram.edges
    if len(counts) != len(edges) + 1:
        raise ValueError(f"{len(edges)} edges make {len(edges) + 1} bins, not {len(counts)}")
    served = np.array(counts[1:-1], dtype=np.float64)
    served[0] += counts[0]
    served[-1] += counts[-1]
    if served.sum() < FEWEST_SCORES:
        return None
    genuine, kinds = _kinds(calibration)
    weights = _fit(served / served.sum(), kinds)
    match_share = float(weights[0]) if genuine else 0.0
    return ScoreDrift(_stability_index(served, weights @ kinds), match_share)


def _kinds(calibration: Calibration) -> tuple[bool, _Shares]:
    """Whether genuine pairs were measured, and the shares (kinds, bins) of each kind of pair, genuine first."""
    histogram = calibration.histogram
    own = [one.type for one in calibration.impostors if not one.external and one.type in histogram.impostor]
    rows = [histogram.genuine, *(histogram.impostor[name] for name in own)]
    genuine = sum(histogram.genuine) > 0
    kinds = np.array(rows if genuine else rows[1:], dtype=np.float64) + FLOOR
    return genuine, kinds / kinds.sum(axis=1, keepdims=True)


def _fit(served: _Shares, kinds: _Shares) -> _Shares:
    """Weights (kinds,) of the mixture under which served shares (bins,) are likeliest: expectation-maximisation, whose
    only optimum that is, for known kinds.
    """
    weights = np.full(len(kinds), 1 / len(kinds))
    for _ in range(STEPS):
        mixed = weights[:, np.newaxis] * kinds
        better = (mixed / mixed.sum(axis=0)) @ served
        if np.abs(better - weights).max() < 1e-9:
            break
        weights = better
    return weights


def _stability_index(served: _Shares, reference: _Shares) -> float:
    """PSI over groups of neighbouring bins of about equal reference shares; half a score is added to each group."""
    group = np.minimum((np.cumsum(reference) - reference / 2) * GROUPS, GROUPS - 1).astype(int)
    expected = np.bincount(group, weights=reference, minlength=GROUPS)
    found = np.bincount(group, weights=served, minlength=GROUPS)
    q, p = expected[expected > 0], found[expected > 0] + 0.5
    p = p / p.sum()
    return float(((p - q) * np.log(p / q)).sum())
