"""Bounds of error rates from bootstrap draws: the one place that decides how wide an interval is. No thresholds.

The percentile interval alone misses too often with few units. In 300 to 1000 simulated calibrations (additive unit
effects; `wolves`: a fifth of the units far from the rest; knots 60 and 300), the true rate lay above the bound in:

                                            percentile, floor 3/rows   as below
    FMR at max_fmr 1e-1, 3e-2, 25 units        0.8 to 7.4 %            0.0 to 2.7 %
    FMR at max_fmr 1e-2, 25 units              9.4 to 21.6 %           0.0 to 0.7 %
    FMR at max_fmr 1e-1 to 3e-3, 60 units      1.2 to 8.7 %            0.0 to 2.7 %
    FNMR at fixed thresholds, 25 units         up to 8.7 %             0.0 to 3.8 %
    FNMR at fixed thresholds, 60 units         up to 6.8 %             0.0 to 3.0 %

Where no error was seen a floor of 3/P fails, since P pairs of few units are not P independent trials. So three things
widen the interval, and nothing makes it narrower than the percentiles:

1. Student's t on the log of the rate: value * exp(t * se / value), se the bootstrap's standard deviation times
   sqrt(n / (n - 1)), t the 97.5 % quantile with n - 1 degrees of freedom, n the units (groups, where there are any).
   The t and the factor are those of Hesterberg 2015, "What teachers should know about the bootstrap", section 4.3;
   the log is the usual transform for a rate near 0 (Agresti, "Categorical data analysis", 3.1). `high` is the larger
   of this and the percentile; `low` the smaller. Above one half the log is that of 1 - rate.
2. The rule of three with a design effect: the floor of `high` is 3 D / rows, rows being unit pairs or units, and D >= 1
   the variance of the rate over that of independent rows (Kish 1965), measured where 10 and 20 rows' worth of errors
   are seen, the larger of both; the bootstrap's own inflation of independent noise is taken off first.
   D is 1 for independent rows, so that 3 / rows is then the floor.
3. A rate never rises along the knots, so that a laxer threshold's `high` bounds a stricter one's rate too: `high` is
   the least so far. Far out, where single pairs make up the rate and its spread is many times itself, that is what
   counts. `low` never rises above a laxer one's.

Beyond any bound of this kind: a part of the population so small that the sample holds none of it (a tenth of all units
is missing from 7 % of samples of 25). With that tenth as wolves, misses reach 6 % at 25 units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.core.evidence.binning import Float64
from app.core.evidence.rates import round_rate
from app.core.evidence.resampling import Resampled

_LEVELS = (0.025, 0.975)
_DESIGN_EFFECT_ERRORS = (10.0, 20.0)
_T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)


@dataclass(frozen=True, slots=True)
class Bounded:
    """A rate at ascending knots: float64 (knots,) each, low <= value <= high, six significant digits."""

    value: Float64
    low: Float64
    high: Float64
    floor: float


def bound_fmr(sample: Resampled) -> Bounded:
    """FMR, the share of scores at or above each knot, with bounds."""
    point = _above(sample.point)
    return _bound(point, _above(sample.draws), sample)


def bound_fnmr(sample: Resampled) -> Bounded:
    """FNMR, the share of scores below each knot, with bounds."""
    below = _bound(_below(sample.point)[::-1], _below(sample.draws)[:, ::-1], sample)
    return Bounded(below.value[::-1], below.low[::-1], below.high[::-1], below.floor)


def bound_figure(value: float, draws: Float64, rows: int, clusters: int) -> tuple[float, float]:
    """Low and high of a figure within 0..1 that is no curve (AUC, EER), from its draws (n,).

    As for a rate, but with 3 / rows as the floor, since a figure of two distributions has no design effect of its own.
    """
    low, high = np.quantile(draws, _LEVELS)
    floor, nearer = min(3.0 / rows, 1.0), min(value, 1.0 - value)
    spread = float(draws.std()) * np.sqrt(_few(clusters)) * _t_975(clusters - 1)
    factor = float(np.exp(min(spread / nearer, 700.0))) if nearer > 0.0 else 1.0
    if value <= 0.5:
        low, high = min(low, nearer / factor), max(high, nearer * factor, floor)
    else:
        low, high = min(low, 1.0 - nearer * factor, 1.0 - floor), max(high, 1.0 - nearer / factor)
    return max(0.0, min(float(low), value)), min(1.0, max(float(high), value))


def design_effect(point: Float64, draws: Float64, sample: Resampled) -> float:
    """Variance of a falling rate over that of as many independent rows, at least 1; see the module's docstring."""
    effects = [1.0]
    for errors in _DESIGN_EFFECT_ERRORS:
        enough = np.flatnonzero((point >= min(errors / sample.rows, 0.5)) & (point < 1.0))
        if len(enough):
            at = enough[-1]
            independent = point[at] * (1.0 - point[at]) / sample.rows
            variance = draws[:, at].var() * _few(sample.clusters)
            effects.append(float(variance / independent - (sample.noise - 1.0)))
    return max(effects)


def _bound(point: Float64, draws: Float64, sample: Resampled) -> Bounded:
    """Bounds of a rate that falls from knot to knot: point (knots,), draws (draws, knots)."""
    floor = min(3.0 * design_effect(point, draws, sample) / sample.rows, 1.0)
    low, high = np.quantile(draws, _LEVELS, axis=0)
    spread = draws.std(axis=0) * np.sqrt(_few(sample.clusters)) * _t_975(sample.clusters - 1)
    nearer = np.minimum(point, 1.0 - point)
    with np.errstate(over="ignore"):
        factor = np.exp(np.divide(spread, nearer, out=np.zeros_like(spread), where=nearer > 0.0))
    small = point <= 0.5
    high = np.maximum(high, np.where(small, nearer * factor, 1.0 - nearer / factor))
    low = np.minimum(low, np.where(small, nearer / factor, 1.0 - nearer * factor))
    high = np.clip(np.maximum(high, floor), point, 1.0)
    low = np.clip(np.minimum(low, 1.0 - floor), 0.0, point)
    high = np.minimum.accumulate(high)
    low = np.minimum.accumulate(low)
    return Bounded(
        np.array([round_rate(v, "nearest") for v in point]),
        np.array([round_rate(v, "down") for v in low]),
        np.array([round_rate(v, "up") for v in high]),
        floor,
    )


def _above(bins: Float64) -> Float64:
    """Shares by bin (..., knots + 1) -> the share at or above each knot (..., knots)."""
    return np.clip(np.cumsum(bins[..., :0:-1], axis=-1)[..., ::-1], 0.0, 1.0)


def _below(bins: Float64) -> Float64:
    """Shares by bin (..., knots + 1) -> the share below each knot (..., knots)."""
    return np.clip(np.cumsum(bins[..., :-1], axis=-1), 0.0, 1.0)


def _few(clusters: int) -> float:
    """n / (n - 1): the bootstrap's variance is that of a population of n, too small by this factor."""
    if clusters < 2:
        raise ValueError("a bound needs at least two independent units")
    return clusters / (clusters - 1.0)


def _t_975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: a table up to 10, then Abramowitz & Stegun 26.7.5 (error below 1e-4)."""
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z, n = 1.959964, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
