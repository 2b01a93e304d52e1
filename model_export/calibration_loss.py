"""What a log-likelihood ratio costs on units that had no part in fitting it: Cllr, minCllr.

Cllr and minCllr are those of Brümmer & du Preez 2006 ("Application-independent evaluation of speaker detection",
Computer Speech and Language 20), in bits. minCllr is the cost after the best non-decreasing map of the same scores, so
that Cllr less minCllr is what the map loses, whatever the encoder is worth. That loss is promised to be at most LIMIT,
per impostor type, judged by the lower end of its interval from a paired bootstrap by unit.

A ratio never says more than its sample supports: it is limited to -ln(units) and ln(unit pairs). With few units these
limits alone cost something, even where an encoder errs never: 0.06 bits with 12 units, 0.03 with 27. So there are two
ways to miss the promise. Where the best map *within the same limits* would be as costly, the sample is too small for
more, and that is said; where the map loses more than LIMIT beyond that, it does not fit, and no ratio is published.
Where the limits alone cost more than LIMIT (13 units or fewer), nothing is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, xlogy

from app.core.evidence import Calibration
from app.core.evidence.binning import Binned, bin_scores, choose_knots
from app.core.evidence.calibration import Ratio
from app.core.evidence.crossfit import Refit, deal, knots_of
from app.core.evidence.ratio import fit_maps
from app.core.evidence.resampling import Resampled, resample
from app.core.evidence.samples import Integers
from app.core.scoring import Float32
from model_export.errors import CommandError
from model_export.figures import ALL, KNOTS, Bins, Float64, Sampled, bound_cost, bound_loss, pair_draws
from model_export.reliability import Reliability, measure_reliability

LIMIT = 0.05
"""Bits that the map may lose on held-out units."""
Method = Literal["held_out", "cross_fitted"]
Limits = tuple[float, float]
Verdict = Literal["no_map", "too_few_units", "kept", "limited", "broken"]
KEPT: Mapping[Verdict, str] = {
    "no_map": "no map",
    "too_few_units": "too few units to judge",
    "kept": "yes",
    "limited": "no, within the limits of so few units",
    "broken": "no",
}
"""Whether the promise is kept, in words."""


@dataclass(frozen=True)
class Cost:
    """Bits with 95 % bounds; high is infinite where there are too few units to bound it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Loss:
    """The cost of the ratio of one impostor type; all but minCllr are None (0) where no map is judged.

    lost: Cllr less minCllr; beyond: Cllr less the cost of the best map within the same limits; limits: what these cost
    alone, in bits; method: how a map is judged, None where there is none.
    """

    cllr: Cost | None
    min_cllr: Cost
    lost: Cost | None
    beyond: Cost | None
    limits: float
    reliability: Reliability | None
    method: Method | None

    @property
    def verdict(self) -> Verdict:
        """How the promise is kept."""
        if self.method is None:
            return "no_map"
        if self.lost is None or self.beyond is None or self.limits > LIMIT or np.isinf(self.lost.high):
            return "too_few_units"
        if self.lost.low <= LIMIT:
            return "kept"
        return "limited" if self.beyond.low <= LIMIT else "broken"


def measure_losses(
    calibration: Calibration | None, sampled: Sampled, *, seed: int, folds: int | None = None
) -> dict[str, Loss]:
    """Impostor type -> the cost of its map on these scores; without a calibration minCllr alone.

    folds: where the scores are those that the map was fitted on, it is fitted anew without the folds of both units of
    each pair (see app.core.evidence.crossfit), and these maps are judged; None: the map as it ships. A type without a
    map of its own is judged by the default type's. Raises CommandError where units are too few to fit or to draw.
    """
    try:
        fold = None if folds is None else deal(sampled.scores.units, folds, seed)
        return {name: _measure(calibration, sampled, name, fold) for name in sampled.impostors}
    except ValueError as error:
        raise CommandError(f"the log-likelihood ratio cannot be judged: {error}") from error


def judge_ratios(calibration: Calibration | None, sampled: Sampled, *, seed: int, folds: int | None) -> dict[str, Loss]:
    """`measure_losses`, and what misses the promise said aloud. Where units are too few to fit maps anew, that is said,
    and no map is judged.
    """
    try:
        losses = measure_losses(calibration, sampled, seed=seed, folds=folds)
    except CommandError as error:
        print(error)
        unjudged = measure_losses(None, sampled, seed=seed)
        return {name: replace(one, method="cross_fitted") for name, one in unjudged.items()}
    for name, one in losses.items():
        if one.lost is not None and one.verdict not in ("kept", "no_map"):
            print(
                f"log-likelihood ratio against {name}: Cllr less minCllr {one.lost.value:.3f} bits, at most {LIMIT}: "
                f"{KEPT[one.verdict]}"
            )
    return losses


def drop_broken(calibration: Calibration, losses: Mapping[str, Loss]) -> Calibration:
    """The calibration without the maps that do not fit, each said aloud: a ratio that misleads is worse than none.

    Error rates do not hang on the map, and stay.
    """
    broken = {name for name, one in losses.items() if one.verdict == "broken"}
    for name in sorted(broken & {ratio.impostor for ratio in calibration.ratios}):
        one = losses[name].lost
        assert one is not None
        print(
            f"log-likelihood ratio against {name}: left out, as its map does not fit these scores: Cllr less minCllr "
            f"{one.value:.3f} bits, at the lower end {one.low:.3f}, where {LIMIT} is promised; error rates stand"
        )
    return calibration.model_copy(update={"ratios": tuple(r for r in calibration.ratios if r.impostor not in broken)})


@dataclass(frozen=True)
class _Mapped:
    """Ratios, natural logs, by bin (bins,), and the genuine and impostor samples that fell into these bins."""

    ratios: Float64
    genuine: Resampled
    impostor: Resampled
    pairs: tuple[Float32, Float32]


def _measure(calibration: Calibration | None, sampled: Sampled, name: str, fold: Integers | None) -> Loss:
    """The cost of one type's ratio; minCllr is always that of the scores themselves."""
    raw = sampled.kinds[ALL][1], sampled.impostors[name][1]
    clusters = min(one.clusters for one in raw)
    ratio = None if calibration is None else calibration.ratio(name) or calibration.ratio(calibration.default_impostor)
    limits = (-np.inf, np.inf) if ratio is None else (ratio.low, ratio.high)
    (least, limited), (least_drawn, limited_drawn) = (
        min_cllrs(*side, limits) for side in (_points(*raw), pair_draws(*raw))
    )

    def bounded(values: Float64, of_draws: Float64) -> Cost:
        value = float(values[0])
        return Cost(value, *bound_cost(value, of_draws, clusters))

    def best() -> Cost:
        cost = bounded(least, least_drawn)
        high = max(cost.high, unseen_cost(min(one.rows for one in raw)))
        return replace(cost, high=high if np.isinf(high) else min(high, 1.0))  # a map to one half costs 1

    def paired(other: Float64, other_drawn: Float64) -> Cost:
        value = max(float(full[0] - other[0]), 0.0)
        return Cost(value, *bound_loss(value, np.maximum(full_drawn - other_drawn, 0.0), clusters))

    if calibration is None or ratio is None:
        return Loss(None, best(), None, None, 0.0, None, method=None)
    mapped = _shipped(ratio, sampled, name) if fold is None else _refitted(ratio, calibration, sampled, name, fold)
    full = cllrs(mapped.ratios, *_points(mapped.genuine, mapped.impostor))
    full_drawn = cllrs(mapped.ratios, *pair_draws(mapped.genuine, mapped.impostor))
    return Loss(
        cllr=bounded(full, full_drawn),
        min_cllr=best(),
        lost=paired(least, least_drawn),
        beyond=paired(limited, limited_drawn),
        limits=float((np.logaddexp(0.0, ratio.low) + np.logaddexp(0.0, -ratio.high)) / (2.0 * np.log(2.0))),
        reliability=measure_reliability(mapped.ratios, mapped.genuine, mapped.impostor, mapped.pairs),
        method="held_out" if fold is None else "cross_fitted",
    )


def _shipped(ratio: Ratio, sampled: Sampled, name: str) -> _Mapped:
    """By the map that ships: its ratio at the mean score of each bin."""
    own, others = sampled.kinds[ALL], sampled.impostors[name]
    scores = sampled.scores.genuine.score, sampled.scores.impostors[name].score
    mapped = [
        np.clip(ratio.slope * values.astype(np.float64) + ratio.intercept, ratio.low, ratio.high)
        for values in (_centres(own[0], others[0]), *scores)
    ]
    pairs = mapped[1].astype(np.float32), mapped[2].astype(np.float32)
    return _Mapped(mapped[0], own[1], others[1], pairs)


def _refitted(ratio: Ratio, calibration: Calibration, sampled: Sampled, name: str, fold: Integers) -> _Mapped:
    """Each score by the map fitted without the folds of its own units, fold (units,), within the limits of `ratio`."""
    genuine, impostor = sampled.scores.genuine, sampled.scores.impostors[name]
    refit = Refit.of(genuine, impostor, fold, knots_of(calibration))
    own, others = bin_scores(genuine, refit.knots), bin_scores(impostor, refit.knots)
    count = int(fold.max()) + 1
    left_out = list(combinations_with_replacement(range(count), 2))
    slopes, intercepts = fit_maps(
        _centres(own, others),
        np.stack([refit.genuine_without(f, g) for f, g in left_out]),
        np.stack([refit.impostors_without(f, g) for f, g in left_out]),
        (own.rows, others.rows),
    )
    slope, intercept = np.empty((count, count)), np.empty((count, count))
    for (f, g), a, b in zip(left_out, slopes, intercepts, strict=True):
        slope[f, g] = slope[g, f] = a
        intercept[f, g] = intercept[g, f] = b

    def mapped(score: Float32, f: Integers, g: Integers) -> Float32:
        ratios = slope[f, g] * score.astype(np.float64) + intercept[f, g]
        return np.clip(ratios, ratio.low, ratio.high).astype(np.float32)

    other = genuine.unit if genuine.other is None else genuine.other
    mine = replace(genuine, score=mapped(genuine.score, fold[genuine.unit], fold[other]))
    theirs = replace(impostor, score=mapped(impostor.score, fold[impostor.unit_a], fold[impostor.unit_b]))
    knots = choose_knots(mine, {name: theirs}, KNOTS)
    own, others = bin_scores(mine, knots), bin_scores(theirs, knots)
    return _Mapped(
        _centres(own, others),
        resample(own, sampled.weights),
        resample(others, sampled.weights, within_groups=impostor.within_groups),
        (mine.score, theirs.score),
    )


def _centres(genuine: Binned, impostor: Binned) -> Float64:
    """One score for each bin, the mean over both kinds, as fit_ratio takes it; 0 where a bin is empty."""
    shares = [one.weight @ one.shares.astype(np.float64) / one.weight.sum() for one in (genuine, impostor)]
    total = shares[0] + shares[1]
    sums = shares[0] * genuine.centre + shares[1] * impostor.centre
    return np.asarray(np.divide(sums, total, out=np.zeros_like(total), where=total > 0.0))


def _points(genuine: Resampled, impostor: Resampled) -> tuple[Bins, Bins]:
    return genuine.point[np.newaxis], impostor.point[np.newaxis]


def cllrs(ratios: Float64, genuine: Bins, impostor: Bins) -> Float64:
    """Cllr of natural-log ratios (bins,) under each row of weights (rows, bins), which sum to 1: bits (rows,)."""
    bits = genuine @ np.logaddexp(0.0, -ratios) + impostor @ np.logaddexp(0.0, ratios)
    return np.asarray(bits / (2.0 * np.log(2.0)))


def unseen_cost(rows: int) -> float:
    """The minCllr, in bits, of scores of which a share of 3 / rows lies on the wrong side of all of the other kind.

    By the rule of three, a sample of so many units (pairs) without any error may have missed as much.
    """
    share = min(3.0 / rows, 1.0)
    return float((share * np.log2((1.0 + share) / share) + np.log2(1.0 + share)) / 2.0)


def min_cllrs(genuine: Bins, impostor: Bins, limits: Limits) -> tuple[Float64, Float64]:
    """Cllr after the best non-decreasing map, found by pooling adjacent violators, of each row: bits (rows,). First of
    any map, then of one whose natural-log ratios stay within the limits.
    """
    costs = np.empty((2, len(genuine)))
    within = expit(limits)
    for row, (mine, theirs) in enumerate(zip(genuine, impostor, strict=True)):
        total = mine + theirs
        used = total > 0.0
        own, others = mine[used], theirs[used]
        share = isotonic_regression(own / total[used], weights=total[used]).x
        for place, one in enumerate((np.clip(share, 0.0, 1.0), np.clip(share, *within))):
            costs[place, row] = -(xlogy(own, one) + xlogy(others, 1.0 - one)).sum()
    costs = np.maximum(costs, 0.0) / (2.0 * np.log(2.0))
    return costs[0], costs[1]
