"""Verification where units are few: the rule that chose each threshold is fitted on some units and judged on others.

One held-out pool chooses the thresholds that ship, so its own rates at them flatter. Here the units are dealt into K
folds, and every comparison of the pool gets its verdict at a threshold that its own units had no part in:

- a genuine comparison is judged at the threshold fitted without the fold of its unit;
- an impostor comparison touches two units, so the threshold is fitted without the folds of both: on K - 2 of them
  where the folds differ, on K - 1 where they are one. A genuine comparison of two units is treated alike.

Where units come in groups, whole groups are dealt, since units of one group are not independent.

What is fitted anew is a rule that fewer units can follow. A named point is the lowest threshold whose *bound* meets its
name, which K - 2 folds often cannot support at all; so each fit takes the lowest threshold whose *measured* FMR is at
most the one that the whole pool measured at that point, and for `eer` the threshold where its own FMR and FNMR cross.
Thresholds are taken from the knots of the stored curves.

The rates of all held-out verdicts are those of the scores less the threshold of each, at 0, with the same bounds as
everywhere. They describe the procedure with slightly fewer units than shipped: a threshold that follows the accidents
of the pool (one goat, one look-alike) misses on the units left out, and that is seen. In 60 simulated pools of 25 units
with unit effects the pool's own FMR at fmr_1e-1 was 0.014 on average, the verified one 0.023, the true one 0.023; with
a fifth of the units far from the rest 0.010, 0.021 and 0.022. The true rate lay above the verified bound in at most 3
of 60 pools of 25 or 30 units, for FMR and FNMR, at every point. Cf. Stone 1974, "Cross-validatory
choice and assessment of statistical predictions"; Chernozhukov et al. 2018 for the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from app.core.evidence.binning import Float64, choose_knots, weights_by_unit
from app.core.evidence.calibration import Calibration, OperatingPoint, Verified
from app.core.evidence.curves import fmr_at, fnmr_at
from app.core.evidence.measuring import measure
from app.core.evidence.samples import GenuineScores, Integers, PairScores, Units
from app.core.scoring import Float32

_MAX_KNOTS = 200
_ROUNDED = 1.0 + 1e-5
"""A stored rate has six digits; one that was rounded down must not exclude the threshold that it was measured at."""


def cross_fit(
    calibration: Calibration,
    units: Units,
    genuine: GenuineScores,
    impostors: Mapping[str, PairScores],
    *,
    population: str,
    folds: int,
    seed: int,
    draws: int = 1000,
) -> Calibration:
    """The calibration with `verified`, method `cross_fitted`, at each operating point whose type is in `impostors`.

    units, genuine, impostors: those that the calibration was estimated from; `folds` is at most the number of units (or
    groups). Raises ValueError where the units outside two folds leave no pairs of a kind to fit on.
    """
    points = cross_fit_points(
        calibration.operating_points,
        knots_of(calibration),
        units,
        genuine,
        impostors,
        population=population,
        folds=folds,
        seed=seed,
        draws=draws,
    )
    return calibration.model_copy(update={"operating_points": points})


def cross_fit_points(
    points: Sequence[OperatingPoint],
    knots: Float32,
    units: Units,
    genuine: GenuineScores,
    impostors: Mapping[str, PairScores],
    *,
    population: str,
    folds: int,
    seed: int,
    draws: int = 1000,
) -> tuple[OperatingPoint, ...]:
    """The same of operating points alone, whatever number of references the scores are of; `knots` of their curves."""
    fold = deal(units, folds, seed)
    refits = {name: Refit.of(genuine, scores, fold, knots) for name, scores in impostors.items()}
    checked = []
    for point in points:
        scores = impostors.get(point.impostor)
        if scores is None:
            checked.append(point)
            continue
        fitted = refits[point.impostor].thresholds(point)
        own, others = _less(genuine, scores, fitted, fold)
        judged = np.append(choose_knots(own, {point.impostor: others}, _MAX_KNOTS), np.float32(0.0))
        measured = measure(units, own, {point.impostor: others}, np.unique(judged), draws=draws, seed=seed)
        assert measured.fnmr is not None  # genuine scores are given
        verified = Verified(
            method="cross_fitted",
            population=population,
            fmr=fmr_at(measured.fmr[point.impostor], 0.0),
            fnmr=fnmr_at(measured.fnmr, 0.0),
            units=units.count,
            unit_pairs=measured.impostors[point.impostor][0].rows,
            genuine_units=measured.fnmr.units,
        )
        checked.append(point.model_copy(update={"verified": verified}))
    return tuple(checked)


def knots_of(calibration: Calibration) -> Float32:
    """The thresholds that the curves for one reference share."""
    return np.array(calibration.impostor_curves[0].thresholds, dtype=np.float32)


def deal(units: Units, folds: int, seed: int) -> Integers:
    """The fold of each unit, int64 (units,): units, or whole groups, dealt at random into folds of equal number.

    Raises ValueError for fewer than three folds, or than three units or groups to deal.
    """
    cluster = np.arange(units.count) if units.group is None else np.unique(units.group, return_inverse=True)[1]
    count = int(cluster.max()) + 1
    folds = min(folds, count)
    if folds < 3:
        what = "units" if units.group is None else "groups"
        raise ValueError(f"cross-fitting needs three folds, and at least three {what} to deal into them")
    place = np.empty(count, dtype=np.int64)
    place[np.random.default_rng(seed).permutation(count)] = np.arange(count) % folds
    return place[cluster]


@dataclass(frozen=True, slots=True)
class Refit:
    """What refitting thresholds against one impostor type needs: scores by knot, told apart by the folds they touch.

    `impostor` float64 (K, K, knots + 1): the weight of pairs of folds f <= g in each bin, every unit pair the same.
    `bins`, `unit` (m,) and `folds` (m, 2) are the bin, the unit and the two folds of each genuine score.
    """

    knots: Float32
    impostor: Float64
    bins: Integers
    unit: Integers
    folds: Integers

    @classmethod
    def of(cls, genuine: GenuineScores, scores: PairScores, fold: Integers, knots: Float32) -> Refit:
        """Sort the scores of a pool between the knots of its curves; `fold` (units,) as `deal` gives it."""
        count, width = int(fold.max()) + 1, len(knots) + 1
        ends = np.stack([fold[scores.unit_a], fold[scores.unit_b]])
        place = (ends.min(axis=0) * count + ends.max(axis=0)) * width + _bins(knots, scores)
        shares = np.bincount(place, weights=weights_by_unit(scores), minlength=count * count * width)
        other = genuine.unit if genuine.other is None else genuine.other
        return cls(
            knots=knots,
            impostor=shares.astype(np.float64).reshape(count, count, width),
            bins=_bins(knots, genuine),
            unit=genuine.unit,
            folds=np.stack([fold[genuine.unit], fold[other]], axis=1),
        )

    def thresholds(self, point: OperatingPoint) -> Float32:
        """The threshold of a point fitted without folds f and g: float32 (K, K), symmetric; the diagonal without one.

        Raises ValueError where what is left holds no pairs to fit on.
        """
        count = len(self.impostor)
        fitted = np.empty((count, count), dtype=np.float32)
        for f, g in combinations_with_replacement(range(count), 2):
            fmr = _above(self.impostors_without(f, g))
            if point.name == "eer":
                fnmr = 1.0 - _above(self.genuine_without(f, g))
                place = np.argmin(np.abs(fmr - fnmr))
            else:
                # the highest knot lies above every score, so that some knot always meets the measured rate
                place = np.argmax(fmr <= point.fmr.value * _ROUNDED)
            fitted[f, g] = fitted[g, f] = self.knots[place]
        return fitted

    def impostors_without(self, f: int, g: int) -> Float64:
        """Shares by bin (knots + 1,) of the impostor pairs that touch neither fold. Raises ValueError where none do."""
        kept = ~np.isin(np.arange(len(self.impostor)), (f, g))
        return _normalised(self.impostor[kept][:, kept].sum(axis=(0, 1)), "impostor")

    def genuine_without(self, f: int, g: int) -> Float64:
        """The same of the genuine pairs, every unit that is left weighing the same."""
        kept = ~np.isin(self.folds, (f, g)).any(axis=1)
        unit = self.unit[kept]
        weights = 1.0 / np.bincount(unit)[unit]
        shares = np.bincount(self.bins[kept], weights=weights, minlength=len(self.knots) + 1)
        return _normalised(shares.astype(np.float64), "genuine")


def _above(shares: Float64) -> Float64:
    """Shares by bin (knots + 1,) -> the share at or above each knot (knots,)."""
    return np.asarray(np.cumsum(shares[::-1])[::-1][1:])


def _bins(knots: Float32, scores: PairScores | GenuineScores) -> Integers:
    return np.searchsorted(knots, scores.score, side="right")


def _normalised(weights: Float64, what: str) -> Float64:
    total = weights.sum()
    if not total > 0.0:
        raise ValueError(f"too few units to cross-fit: without two of the folds there is no {what} pair left to fit on")
    return np.asarray(weights / total)


def _less(
    genuine: GenuineScores, scores: PairScores, fitted: Float32, fold: Integers
) -> tuple[GenuineScores, PairScores]:
    """Scores less the threshold that each is judged at. float32 differences keep the sign, so `>= 0` is the verdict."""
    other = genuine.unit if genuine.other is None else genuine.other
    own = replace(genuine, score=genuine.score - fitted[fold[genuine.unit], fold[other]])
    return own, replace(scores, score=scores.score - fitted[fold[scores.unit_a], fold[scores.unit_b]])
