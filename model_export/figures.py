"""The field's figures from scores, with bounds from a bootstrap by unit: ROC AUC, EER, FNMR at an FMR, means by unit.

`FNMR at FMR = x` is a point estimate with an interval; an operating point `fmr_x` is a claim by upper bound. The two
are never mixed in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from app.core.evidence import Rate, Units
from app.core.evidence.binning import Binned, bin_scores, choose_knots
from app.core.evidence.bounds import bound_figure
from app.core.evidence.resampling import Draws, Resampled, draw_weights, resample
from model_export.comparing import Scores
from model_export.errors import CommandError

Float64 = npt.NDArray[np.float64]
Bins = npt.NDArray[np.float64]

FMRS = (1e-1, 1e-2, 1e-3, 1e-4)
KNOTS = 400
FEWEST_UNITS = 6
ALL = "all"
"""The kind of genuine pairs that holds every one."""


@dataclass(frozen=True)
class TypeFigures:
    """Figures of one kind of genuine pairs against one impostor type.

    `fnmr_at` maps an FMR to the FNMR there, None beyond the sample.
    """

    genuine_units: int
    unit_pairs: int
    auc: Rate
    eer: Rate
    fnmr_at: Mapping[float, Rate | None]


@dataclass(frozen=True)
class Sampled:
    """Scores by bin, and their draws: computed once for every figure of the same comparisons.

    Each sample is (scores by bin, their resampling); `kinds` of genuine pairs, the first being ALL.
    """

    scores: Scores
    weights: Draws
    kinds: Mapping[str, tuple[Binned, Resampled]]
    impostors: Mapping[str, tuple[Binned, Resampled]]


def draw_samples(scores: Scores, *, draws: int, seed: int) -> Sampled:
    """Bin and resample; every unit pair and every unit weighs the same. Raises CommandError for too few units."""
    try:
        knots = choose_knots(scores.genuine, scores.impostors, KNOTS)
        weights = draw_weights(scores.units, draws, seed)
        impostors = {}
        for name, pairs in scores.impostors.items():
            binned = bin_scores(pairs, knots)
            impostors[name] = binned, resample(binned, weights, within_groups=pairs.within_groups)
        kinds = {}
        for kind, own in {ALL: scores.genuine, **scores.kinds}.items():
            binned = bin_scores(own, knots)
            kinds[kind] = binned, resample(binned, weights)
    except ValueError as error:
        raise CommandError(f"these comparisons give no figures: {error}") from error
    return Sampled(scores, weights, kinds, impostors)


def compute_figures(scores: Scores, *, draws: int, seed: int) -> dict[tuple[str, str], TypeFigures]:
    """`figures_of` of scores that nothing else is asked of."""
    return figures_of(draw_samples(scores, draws=draws, seed=seed))


def figures_of(sampled: Sampled) -> dict[tuple[str, str], TypeFigures]:
    """(kind of genuine pairs, impostor type) -> figures. All genuine pairs come first, as kind `all`, then the kinds
    that the scores tell apart.
    """
    return {
        (kind, name): TypeFigures(
            genuine_units=genuine.rows,
            unit_pairs=impostor.rows,
            auc=_bounded(auc, genuine, impostor),
            eer=_bounded(eer, genuine, impostor),
            fnmr_at={
                fmr: _bounded(fnmr_at(fmr), genuine, impostor) if fmr >= 3 / impostor.rows else None for fmr in FMRS
            },
        )
        for kind, (_, genuine) in sampled.kinds.items()
        for name, (_, impostor) in sampled.impostors.items()
    }


def headline_of(sampled: Sampled, impostor: str) -> tuple[Rate, Rate]:
    """AUC and EER of all genuine pairs against one impostor type, where nothing else is asked."""
    genuine, others = sampled.kinds[ALL][1], sampled.impostors[impostor][1]
    return _bounded(auc, genuine, others), _bounded(eer, genuine, others)


def bound_mean(by_unit: Float64, units: Units, *, draws: int, seed: int) -> Rate:
    """The mean of a share 0..1 over units, each weighing the same, with bounds from the same draws of units.

    by_unit (units,), NaN where a unit has none. As everywhere, fewer than FEWEST_UNITS units (groups) bound nothing.
    """
    has = ~np.isnan(by_unit)
    value = float(by_unit[has].mean())
    clusters = int(has.sum()) if units.group is None else len(np.unique(units.group[has]))
    if clusters < FEWEST_UNITS:
        return Rate(value=value, low=0.0, high=1.0)
    weights = draw_weights(units, draws, seed).weights[:, has].astype(np.float64)
    weights = weights[weights.any(axis=1)]
    drawn = weights @ by_unit[has] / weights.sum(axis=1)
    low, high = bound_figure(value, drawn, int(has.sum()), clusters)
    return Rate(value=value, low=low, high=high)


def pair_draws(genuine: Resampled, impostor: Resampled) -> tuple[Bins, Bins]:
    """The draws that gave both sides some weight, draw by draw: two (draws, bins)."""
    kept = genuine.drawn & impostor.drawn
    return genuine.draws[kept[genuine.drawn]], impostor.draws[kept[impostor.drawn]]


def bound_cost(value: float, drawn: Float64, clusters: int) -> tuple[float, float]:
    """Low and high of a cost from 0 up (Cllr), from its draws: the percentiles, widened as app.core.evidence.bounds
    widens a small rate, by Student's t on the log. Nothing from fewer than FEWEST_UNITS units.
    """
    if clusters < FEWEST_UNITS:
        return 0.0, float("inf")
    low, high = np.quantile(drawn, (0.025, 0.975))
    error = float(drawn.std()) * np.sqrt(clusters / (clusters - 1))
    factor = np.exp(min(student.ppf(0.975, clusters - 1) * error / value, 700.0)) if value > 0 else 1.0
    return max(0.0, min(float(low), value / factor)), max(float(high), value * factor)


def bound_loss(value: float, drawn: Float64, clusters: int) -> tuple[float, float]:
    """The same of a difference of two costs of one sample.

    It may be near 0 however much it varies, where a log knows no upper bound, so that high is widened by Student's t on
    the difference itself.
    """
    low, _ = bound_cost(value, drawn, clusters)
    if clusters < FEWEST_UNITS:
        return low, float("inf")
    spread = student.ppf(0.975, clusters - 1) * float(drawn.std()) * np.sqrt(clusters / (clusters - 1))
    return low, max(float(np.quantile(drawn, 0.975)), value + spread)


def _bounded(figure: Callable[[Bins, Bins], Bins], genuine: Resampled, impostor: Resampled) -> Rate:
    """The figure of the sample with bounds from its draws; see app.core.evidence.bounds.bound_figure.

    Draws from fewer than FEWEST_UNITS units are nearly all alike, and say nothing of others: then 0 to 1.
    """
    (value,) = figure(genuine.point[np.newaxis], impostor.point[np.newaxis])
    if min(genuine.clusters, impostor.clusters) < FEWEST_UNITS:
        return Rate(value=float(value), low=0.0, high=1.0)
    drawn = figure(*pair_draws(genuine, impostor))  # draws that gave either side no weight say nothing
    rows, clusters = min(genuine.rows, impostor.rows), min(genuine.clusters, impostor.clusters)
    low, high = bound_figure(float(value), drawn, rows, clusters)
    return Rate(value=float(value), low=low, high=high)


def auc(genuine: Bins, impostor: Bins) -> Bins:
    """Chance that a genuine score exceeds an impostor one, a tie (same bin) counting half (Hanley & McNeil 1982)."""
    lower = np.cumsum(impostor, axis=1) - impostor
    return np.asarray(np.clip((genuine * (lower + impostor / 2)).sum(axis=1), 0.0, 1.0))


def eer(genuine: Bins, impostor: Bins) -> Bins:
    """The rate where FMR and FNMR cross, linear between the two knots around the crossing."""
    fnmr, fmr = _rates(genuine, impostor)
    gap = fmr - fnmr  # falls from 1 to -1 along the knots
    after = np.clip((gap > 0).sum(axis=1), 1, gap.shape[1] - 1)
    row = np.arange(len(gap))
    above, below = gap[row, after - 1], gap[row, after]
    share = above / np.where(above > below, above - below, 1.0)
    return np.asarray(fnmr[row, after - 1] + share * (fnmr[row, after] - fnmr[row, after - 1]))


def fnmr_at(target: float) -> Callable[[Bins, Bins], Bins]:
    """The figure FNMR at FMR = `target`, of genuine and impostor shares by bin."""

    def figure(genuine: Bins, impostor: Bins) -> Bins:
        """FNMR at the lowest knot whose FMR is at most the target."""
        fnmr, fmr = _rates(genuine, impostor)
        first = np.clip((fmr > target).sum(axis=1), 0, fmr.shape[1] - 1)
        return np.asarray(fnmr[np.arange(len(fmr)), first])

    return figure


def _rates(genuine: Bins, impostor: Bins) -> tuple[Bins, Bins]:
    """Shares by bin (draws, knots + 1) -> FNMR and FMR at each knot (draws, knots)."""
    fnmr = np.clip(np.cumsum(genuine, axis=1)[:, :-1], 0.0, 1.0)
    fmr = np.clip(np.cumsum(impostor[:, :0:-1], axis=1)[:, ::-1], 0.0, 1.0)
    return fnmr, fmr
