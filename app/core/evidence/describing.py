"""Operating points in plain values: as GET /models shows them, and as the response to a comparison does. No judging."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from app.core.evidence.calibration import Calibration
from app.core.evidence.curves import fmr_at, fnmr_at
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, Rate, round_rate

Source = Literal["default", "named", "max_fmr", "max_fmr_max_fnmr", "caller"]
Located = tuple[Source, str | None, float, float | None]
"""Where a request is judged: source, name, threshold, threshold_low."""


def describe_points(calibration: Calibration | None) -> list[dict[str, Any]]:
    """The stored operating points: name, threshold, impostor, fmr, fnmr, verified, default (of the whole bundle)."""
    if calibration is None:
        return []
    return [
        {
            "name": point.name,
            "threshold": np.float32(point.threshold),
            "impostor": point.impostor,
            "fmr": point.fmr.model_dump(),
            "fnmr": None if point.fnmr is None else point.fnmr.model_dump(),
            "verified": None if point.verified is None else point.verified.model_dump(),
            "default": point.impostor == calibration.default_impostor
            and calibration.defaults.get(point.impostor) == point.name,
        }
        for point in calibration.operating_points
    ]


def show_choice(
    calibration: Calibration, located: Located, fmr: ImpostorCurve, fnmr: GenuineCurve | None
) -> dict[str, Any]:
    """The `operating_point` of the response. With two thresholds FNMR is that of `no_match`, so at the lower one."""
    source, name, threshold, threshold_low = located
    lower = threshold if threshold_low is None else threshold_low
    by_impostor = {}
    for one in calibration.impostors:
        curve = calibration.fmr_curve(one.type, fmr.k, fmr.aggregation)
        if curve is not None:  # as for every type at k = 1
            by_impostor[one.type] = {**_rate(fmr_at(curve, threshold)), "external": one.external}
    review = None
    if source == "max_fmr_max_fnmr" and fnmr is not None:
        review = {
            "genuine": round_rate(fnmr_at(fnmr, threshold).value - fnmr_at(fnmr, lower).value, "nearest"),
            "impostor": round_rate(fmr_at(fmr, lower).value - fmr_at(fmr, threshold).value, "nearest"),
        }
    return {
        "name": name,
        "source": source,
        "threshold": np.float32(threshold),
        "threshold_low": None if threshold_low is None else np.float32(threshold_low),
        "impostor": {"type": fmr.impostor, "description": calibration.impostor(fmr.impostor).description},
        "fmr": _rate(fmr_at(fmr, threshold)),
        "fnmr": None if fnmr is None else _rate(fnmr_at(fnmr, lower)),
        "fmr_by_impostor": by_impostor,
        "review_rate": review,
        "calibration": {
            "id": calibration.id,
            "population": calibration.population,
            "identities": calibration.counts.units,
            "source": calibration.source,
        },
    }


def _rate(rate: Rate) -> dict[str, float]:
    return {"value": rate.value, "low": rate.low, "high": rate.high}
