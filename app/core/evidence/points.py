"""Which thresholds a calibration names, and which of them is the default. Reads curves; estimates nothing.

Points for one reference are stored, with what verified them. Those for k references follow from their curves by the
same rules, so that no number of them needs a place of its own in calibration.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from app.core.evidence.calibration import Calibration, OperatingPoint
from app.core.evidence.curves import equal_error_threshold, fmr_at, fnmr_at, lowest_threshold
from app.core.evidence.rates import GenuineCurve, ImpostorCurve
from app.core.scoring import Aggregation

DEFAULT_NAMES = ("fmr_1e-3", "fmr_1e-2", "fmr_1e-1")
MAX_DEFAULT_FNMR = 0.2


def name_points(fmr: ImpostorCurve, fnmr: GenuineCurve | None) -> tuple[OperatingPoint, ...]:
    """`fmr_1e-1`, `fmr_1e-2`, ... as far as `fmr.high` meets them, exactly as max_fmr would; then `eer`."""
    points = []
    for exponent in range(1, 10):
        threshold = lowest_threshold(fmr, float(f"1e-{exponent}"))
        if threshold is None:
            break
        points.append(_point(f"fmr_1e-{exponent}", threshold, fmr, fnmr))
    if fnmr is not None:
        points.append(_point("eer", equal_error_threshold(fmr, fnmr), fmr, fnmr))
    return tuple(points)


def points_at(
    calibration: Calibration, impostor: str, k: int, aggregation: Aggregation
) -> tuple[tuple[OperatingPoint, ...], str | None]:
    """The points of one impostor type for k references, and the name of the default one; none where k is unmeasured."""
    if k == 1:
        stored = tuple(point for point in calibration.operating_points if point.impostor == impostor)
        return stored, calibration.defaults.get(impostor)
    fmr = calibration.fmr_curve(impostor, k, aggregation)
    points = () if fmr is None else name_points(fmr, calibration.fnmr_curve(k, aggregation))
    return points, default_name(points)


def default_name(points: Iterable[OperatingPoint]) -> str | None:
    """The default among one impostor type's points: the strictest of 1e-3, 1e-2, 1e-1 with a measured FNMR of at most
    0.2, else the laxest; None where not even 1e-1 is supported. Never `eer`.
    """
    named = {point.name: point for point in points}
    supported = [name for name in DEFAULT_NAMES if name in named]
    for name in supported:
        fnmr = named[name].fnmr
        if fnmr is not None and fnmr.value <= MAX_DEFAULT_FNMR:
            return name
    return supported[-1] if supported else None


def hardest(curves: Mapping[str, ImpostorCurve], fnmr: GenuineCurve | None) -> str:
    """The impostor type with the highest FMR at equal thresholds, on average over the genuine scores as thresholds.

    That average is the chance that an impostor scores at least as high as a genuine pair. Types that never do are told
    apart by their FMR averaged over all knots. All curves must share their knots.
    """
    knots = next(iter(curves.values())).thresholds
    below = np.array([0.0 if fnmr is None else fnmr_at(fnmr, t).value for t in knots])
    genuine = np.diff(below, append=1.0)

    def difficulty(name: str) -> tuple[float, float]:
        rates = np.array(curves[name].value)
        return float(genuine @ rates), float(rates.mean())

    return max(curves, key=difficulty)


def _point(name: str, threshold: float, fmr: ImpostorCurve, fnmr: GenuineCurve | None) -> OperatingPoint:
    return OperatingPoint(
        name=name,
        impostor=fmr.impostor,
        threshold=threshold,
        fmr=fmr_at(fmr, threshold),
        fnmr=None if fnmr is None else fnmr_at(fnmr, threshold),
    )
