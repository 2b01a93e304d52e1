"""The field's figures from scores, with bounds from a bootstrap by unit: ROC AUC, EER, FNMR at an FMR.

`FNMR at FMR = x` is a point estimate with an interval; an operating point `fmr_x` is a claim by upper bound. The two
are never mixed in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate
from app.core.evidence.binning import bin_scores, choose_knots
from app.core.evidence.bounds import bound_figure
from app.core.evidence.resampling import Resampled, draw_weights, resample
from model_export.comparing import Scores
from model_export.errors import CommandError

Bins = npt.NDArray[np.float64]

FMRS = (1e-1, 1e-2, 1e-3)
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


def compute_figures(scores: Scores, *, draws: int, seed: int) -> dict[tuple[str, str], TypeFigures]:
    """(kind of genuine pairs, impostor type) -> figures; every unit pair and every unit weighs the same.

    All genuine pairs come first, as kind `all`, then the kinds that the scores tell apart. Raises CommandError for too
    few units.
    """
    try:
        return _compute(scores, draws, seed)
    except ValueError as error:
        raise CommandError(f"these comparisons give no figures: {error}") from error


def _compute(scores: Scores, draws: int, seed: int) -> dict[tuple[str, str], TypeFigures]:
    knots = choose_knots(scores.genuine, scores.impostors, 400)
    weights = draw_weights(scores.units, draws, seed)
    impostors = {
        name: resample(bin_scores(pairs, knots), weights, within_groups=pairs.within_groups)
        for name, pairs in scores.impostors.items()
    }
    figures = {}
    for kind, own in {ALL: scores.genuine, **scores.kinds}.items():
        genuine = resample(bin_scores(own, knots), weights)
        for name, impostor in impostors.items():
            figures[kind, name] = TypeFigures(
                genuine_units=genuine.rows,
                unit_pairs=impostor.rows,
                auc=_bounded(auc, genuine, impostor),
                eer=_bounded(_eer, genuine, impostor),
                fnmr_at={
                    fmr: _bounded(fnmr_at(fmr), genuine, impostor) if fmr >= 3 / impostor.rows else None for fmr in FMRS
                },
            )
    return figures


def _bounded(figure: Callable[[Bins, Bins], Bins], genuine: Resampled, impostor: Resampled) -> Rate:
    """The figure of the sample with bounds from its draws; see app.core.evidence.bounds.bound_figure.

    Draws from fewer than FEWEST_UNITS units are nearly all alike, and say nothing of others: then 0 to 1.
    """
    (value,) = figure(genuine.point[np.newaxis], impostor.point[np.newaxis])
    if min(genuine.clusters, impostor.clusters) < FEWEST_UNITS:
        return Rate(value=float(value), low=0.0, high=1.0)
    kept = genuine.drawn & impostor.drawn  # draws that gave either side no weight say nothing
    drawn = figure(genuine.draws[kept[genuine.drawn]], impostor.draws[kept[impostor.drawn]])
    rows, clusters = min(genuine.rows, impostor.rows), min(genuine.clusters, impostor.clusters)
    low, high = bound_figure(float(value), drawn, rows, clusters)
    return Rate(value=float(value), low=low, high=high)


def auc(genuine: Bins, impostor: Bins) -> Bins:
    """Chance that a genuine score exceeds an impostor one, a tie (same bin) counting half (Hanley & McNeil 1982)."""
    lower = np.cumsum(impostor, axis=1) - impostor
    return np.asarray(np.clip((genuine * (lower + impostor / 2)).sum(axis=1), 0.0, 1.0))


def _eer(genuine: Bins, impostor: Bins) -> Bins:
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
