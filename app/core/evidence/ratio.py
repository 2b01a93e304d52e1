"""Fit of the log-likelihood ratio, and its cost in bits. Works on shares by bin, so it never sees a pair.

Cllr and minCllr: Brümmer & du Preez 2006, "Application-independent evaluation of speaker detection", Computer Speech
and Language 20. The fit is logistic regression with both halves weighted equally, every unit pair and every unit the
same; targets are smoothed as Platt 1999 does, (n + 1) / (n + 2) for n units, so that separated scores keep a finite
slope.
"""

from __future__ import annotations

import math

import numpy as np

from app.core.evidence.binning import Binned, Float64
from app.core.evidence.calibration import Ratio
from app.core.evidence.resampling import Resampled

BOOTSTRAP_PAIRS = 200
_STEPS = 60
_NOISE = 1e-14
"""Differences of a cost, which is about 1, that are its rounding: no reason to halve a step, or to take another."""


def fit_ratio(impostor_type: str, genuine: tuple[Binned, Resampled], impostor: tuple[Binned, Resampled]) -> Ratio:
    """The ratio of k = 1, aggregation single, against one impostor type; both on the same knots and draws.

    Raises ValueError where genuine scores are not higher than impostor ones, since no rising map exists then.
    """
    (genuine_bins, genuine_sample), (impostor_bins, impostor_sample) = genuine, impostor
    score = _centres(genuine_bins, genuine_sample, impostor_bins, impostor_sample)
    sizes = genuine_sample.rows, impostor_sample.rows
    (slope,), (intercept,) = fit_maps(score, genuine_sample.point[np.newaxis], impostor_sample.point[np.newaxis], sizes)
    if not slope > 0.0:
        raise ValueError(f"genuine scores are not higher than impostor scores of type {impostor_type}")
    both = genuine_sample.drawn & impostor_sample.drawn  # the same draws of both sides
    genuine_draws, impostor_draws = (
        genuine_sample.draws[both[genuine_sample.drawn]],
        impostor_sample.draws[both[impostor_sample.drawn]],
    )
    slopes, intercepts = fit_maps(score, genuine_draws[:BOOTSTRAP_PAIRS], impostor_draws[:BOOTSTRAP_PAIRS], sizes)
    low, high = -math.log(sizes[0]), math.log(sizes[1])
    ratios = np.clip(slope * score + intercept, low, high)
    cost = cllr(ratios, genuine_sample.point, impostor_sample.point)
    return Ratio(
        impostor=impostor_type,
        k=1,
        aggregation="single",
        slope=_short(slope),
        intercept=_short(intercept),
        low=_short(low),
        high=_short(high),
        bootstrap=tuple((_short(a), _short(b)) for a, b in zip(slopes, intercepts, strict=True)),
        cllr=_short(cost),
        min_cllr=_short(min(cost, min_cllr(genuine_sample.point, impostor_sample.point))),
    )


def cllr(ratios: Float64, genuine: Float64, impostor: Float64) -> float:
    """Cost of natural-log ratios (n,) in bits; genuine and impostor (n,) are weights that sum to 1 each.

    Half the mean of log2(1 + 1/LR) over genuine plus half that of log2(1 + LR) over impostor scores. A weight of 0
    costs nothing, whatever the ratio.
    """
    genuine_cost = np.where(genuine > 0.0, np.logaddexp(0.0, -ratios), 0.0)
    impostor_cost = np.where(impostor > 0.0, np.logaddexp(0.0, ratios), 0.0)
    return float((genuine @ genuine_cost + impostor @ impostor_cost) / (2.0 * math.log(2.0)))


def min_cllr(genuine: Float64, impostor: Float64) -> float:
    """Cllr after the best non-decreasing map of the score, in bits; weights (n,) in ascending order of score."""
    return cllr(isotonic(genuine, impostor), genuine, impostor)


def isotonic(genuine: Float64, impostor: Float64) -> Float64:
    """Pool adjacent violators: the best non-decreasing natural-log ratios, (n,) in score order; -inf and inf occur.

    Entries without any weight join a neighbour.
    """
    blocks: list[tuple[float, float, int]] = []
    for mine, theirs in zip(genuine.tolist(), impostor.tolist(), strict=True):
        block = (mine, theirs, 1)
        while blocks and _falls(blocks[-1], block):
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    mine, theirs, sizes = (np.array(column) for column in zip(*blocks, strict=True))
    with np.errstate(divide="ignore"):
        ratios = np.log(mine) - np.log(theirs)
    return np.repeat(np.asarray(ratios, dtype=np.float64), sizes)


def _falls(before: tuple[float, float, int], block: tuple[float, float, int]) -> bool:
    # compares the shares of genuine weight without dividing; a block without weight joins the one before it
    return before[0] * block[1] >= block[0] * before[1]


def _centres(genuine: Binned, genuine_sample: Resampled, impostor: Binned, impostor_sample: Resampled) -> Float64:
    """One score for each bin: the mean over both classes. One for both, so that minCllr is a bound of Cllr."""
    weight = genuine_sample.point + impostor_sample.point
    total = genuine_sample.point * genuine.centre + impostor_sample.point * impostor.centre
    return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=weight > 0.0))


def fit_maps(score: Float64, genuine: Float64, impostor: Float64, sizes: tuple[int, int]) -> tuple[Float64, Float64]:
    """Slopes and intercepts (rows,) of scores (bins,) with weights (rows, bins): damped Newton on all rows at once.

    sizes: units with a genuine pair, and unit pairs, which smooth the targets.
    """
    used = (genuine + impostor).sum(axis=0)
    mean = float((used * score).sum() / used.sum())
    scale = math.sqrt(float((used * np.square(score - mean)).sum() / used.sum())) or 1.0
    x = (score - mean) / scale
    hit, miss = (sizes[0] + 1.0) / (sizes[0] + 2.0), 1.0 / (sizes[1] + 2.0)
    weight, target = genuine + impostor, genuine * hit + impostor * miss
    a, b = np.zeros(len(genuine)), np.zeros(len(genuine))

    def cost(a: Float64, b: Float64) -> Float64:
        logits = a[:, np.newaxis] * x + b[:, np.newaxis]
        return np.asarray((weight * np.logaddexp(0.0, logits) - target * logits).sum(axis=1))

    now = cost(a, b)
    for _ in range(_STEPS):
        share = 1.0 / (1.0 + np.exp(-np.clip(a[:, np.newaxis] * x + b[:, np.newaxis], -500.0, 500.0)))
        gap, curve = weight * share - target, weight * share * (1.0 - share)
        ga, gb = (gap * x).sum(axis=1), gap.sum(axis=1)
        haa, hab, hbb = (curve * x * x).sum(axis=1), (curve * x).sum(axis=1), curve.sum(axis=1)
        # a ridge far below the data's weight keeps a flat cost solvable
        determinant = (haa + 1e-12) * (hbb + 1e-12) - hab * hab
        da, db = ((hbb + 1e-12) * ga - hab * gb) / determinant, ((haa + 1e-12) * gb - hab * ga) / determinant
        size = np.ones(len(a))
        for _ in range(30):
            worse = cost(a - size * da, b - size * db) > now + _NOISE
            if not worse.any():
                break
            size = np.where(worse, size / 2.0, size)
        a, b = np.where(worse, a, a - size * da), np.where(worse, b, b - size * db)
        before, now = now, cost(a, b)
        if (before - now).max() < _NOISE:
            break
    # the prior of the fit is one half, so that the logit is the log-likelihood ratio
    return a / scale, b - a * mean / scale


def _short(value: float) -> float:
    return float(f"{value:.6g}")
