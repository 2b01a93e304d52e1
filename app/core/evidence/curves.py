"""Reading stored curves: the rate at a threshold, and the threshold at a rate. No estimation.

Between knots a curve takes the cautious side: FMR is that of the knot below, FNMR that of the knot above. So both are
step functions, and the lowest or highest threshold that meets a rate is always a knot.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from app.core.evidence.rates import Curve, GenuineCurve, ImpostorCurve, Rate


def fmr_at(curve: ImpostorCurve, threshold: float) -> Rate:
    """FMR at a threshold: that of the highest knot at or below it; below all knots, everything may match."""
    index = _knot_below(curve, threshold)
    return _rate(curve, index) if index >= 0 else Rate(value=1.0, low=curve.low[0], high=1.0)


def show_fmr_at(curve: ImpostorCurve, score: float) -> dict[str, float]:
    """The `fmr_at_score` of the response: value and high of fmr_at, which are read anew for each pair."""
    index = _knot_below(curve, score)
    return {"value": curve.value[index], "high": curve.high[index]} if index >= 0 else {"value": 1.0, "high": 1.0}


def fnmr_at(curve: GenuineCurve, threshold: float) -> Rate:
    """FNMR at a threshold: that of the lowest knot at or above it; above all knots, everything may be missed."""
    index = bisect_left(curve.thresholds, float(threshold))
    return _rate(curve, index) if index < len(curve.thresholds) else Rate(value=1.0, low=curve.low[-1], high=1.0)


def lowest_threshold(curve: ImpostorCurve, max_fmr: float) -> float | None:
    """The lowest threshold with fmr.high <= max_fmr, or None where the sample supports none."""
    # high falls along the curve: count the knots that are still above max_fmr
    index = bisect_left(curve.high, -max_fmr, key=lambda high: -high)
    return curve.thresholds[index] if index < len(curve.thresholds) else None


def highest_threshold(curve: GenuineCurve, max_fnmr: float) -> float | None:
    """The highest threshold with fnmr.high <= max_fnmr, or None where the sample supports none."""
    index = bisect_right(curve.high, max_fnmr) - 1
    return curve.thresholds[index] if index >= 0 else None


def equal_error_threshold(fmr: ImpostorCurve, fnmr: GenuineCurve) -> float:
    """The knot of the FMR curve at which the measured FMR and FNMR differ least; the lowest of equals."""
    missed = np.array([*fnmr.value, 1.0])[np.searchsorted(fnmr.thresholds, fmr.thresholds)]  # as fnmr_at reads it
    return fmr.thresholds[int(np.argmin(np.abs(np.array(fmr.value) - missed)))]


def _knot_below(curve: ImpostorCurve, threshold: float) -> int:
    return bisect_right(curve.thresholds, float(threshold)) - 1


def _rate(curve: Curve, index: int) -> Rate:
    return Rate(value=curve.value[index], low=curve.low[index], high=curve.high[index])
