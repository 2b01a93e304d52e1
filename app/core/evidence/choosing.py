"""The operating point that a request is judged at, chosen once and before any item is decoded. No scores.

Refuses what the evidence cannot support, and says what it does support.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.core.errors import InvalidRequest, OperatingPointUnavailable
from app.core.evidence.calibration import Calibration, Ratio
from app.core.evidence.curves import fmr_at, fnmr_at, highest_threshold, lowest_threshold
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, Rate, float32, round_rate

Source = Literal["default", "named", "max_fmr", "max_fmr_max_fnmr", "caller"]
Status = Literal["released", "demonstration"]
_Located = tuple[Source, str | None, float, float | None]  # source, name, threshold, threshold_low

FP32_GUARD_BAND = 1e-5


@dataclass(frozen=True, slots=True)
class Selectors:
    """How a request says where it wants to be judged. None means not given; a threshold of 0 is a threshold."""

    operating_point: str | None = None
    max_fmr: float | None = None
    max_fnmr: float | None = None
    threshold: float | None = None
    impostor: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is undetermined, or what its rates do not cover. `side` is set where one item is at fault."""

    code: str
    side: Literal["a", "b"] | None
    detail: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the scores of a request are judged. `operating_point` is the mapping that the response shows."""

    calibration: Calibration | None
    threshold: np.float32 | None
    threshold_low: np.float32 | None
    guard_band: float
    fmr_curve: ImpostorCurve | None
    ratio: Ratio | None
    operating_point: Mapping[str, Any] | None
    reasons: tuple[Reason, ...]

    @property
    def label(self) -> str:
        """A word for metrics, from a small closed set: the point's name, else its source, else `none`."""
        if self.operating_point is None:
            return "none"
        return str(self.operating_point["name"] or self.operating_point["source"])


UNCALIBRATED = Reason("uncalibrated", None, "No error rate was measured for this model; calibrate it on your own data.")
INSUFFICIENT = Reason(
    "insufficient_evidence",
    None,
    "Too few identities were measured to claim a false match rate of 1 in 10; calibrate with more of them.",
)
FNMR_UNKNOWN = Reason("fnmr_unknown", None, "No genuine pairs were measured, so the false non-match rate is unknown.")


def choose(
    calibration: Calibration | None, status: Status, selectors: Selectors, *, guard_band_floor: float = FP32_GUARD_BAND
) -> Choice:
    """The operating point that a request is judged at.

    `status` is the manifest's. The guard band is the calibration's; `guard_band_floor` stands in where there is none
    (1e-5 for fp32, 1e-3 for fp16 and int8). Raises InvalidRequest for selectors that exclude each other or are out of
    range, OperatingPointUnavailable for what the evidence does not support, saying what it does.
    """
    _check(selectors)
    measured = calibration is not None and status == "released" and calibration.supported
    standing: tuple[Reason, ...] = ()
    if not measured:
        standing = (UNCALIBRATED if calibration is None else INSUFFICIENT,)
    impostor = _impostor(calibration, selectors.impostor)
    asked = "operating_point" if selectors.operating_point is not None else "max_fmr"
    if not measured and (selectors.operating_point is not None or selectors.max_fmr is not None):
        why = "has no measured error rates" if calibration is None else "has too little evidence for an operating point"
        raise OperatingPointUnavailable(f"this model {why}; give a threshold instead of {asked}", pointer=f"/{asked}")
    if calibration is None or impostor is None:
        return _without_evidence(selectors.threshold, guard_band_floor, standing)

    fmr, fnmr = calibration.fmr_curve(impostor), calibration.fnmr_curve()
    assert fmr is not None  # Calibration holds one for each impostor type
    if fnmr is None:
        standing += (FNMR_UNKNOWN,)
    located = _locate(calibration, selectors, fmr, fnmr, measured=measured)
    shown, t_match, t_no = None, None, None
    if located is not None:
        _, _, high, low = located
        t_match, t_no = np.float32(high), None if low is None else np.float32(low)
        shown = _shown(calibration, located, fmr, fnmr)
    return Choice(calibration, t_match, t_no, calibration.guard_band, fmr, calibration.ratio(impostor), shown, standing)


def _check(selectors: Selectors) -> None:
    given = [name for name in ("operating_point", "max_fmr", "threshold") if getattr(selectors, name) is not None]
    if len(given) > 1:
        drop = " and ".join(given[1:])
        raise InvalidRequest(f"{' and '.join(given)} exclude each other; drop {drop}", pointer=f"/{given[1]}")
    if selectors.max_fnmr is not None and selectors.max_fmr is None:
        what = f"drop max_fnmr beside {given[0]}" if given else "give max_fmr too, or drop max_fnmr"
        raise InvalidRequest(f"max_fnmr goes with max_fmr only; {what}", pointer="/max_fnmr")
    for name in ("max_fmr", "max_fnmr"):
        rate = getattr(selectors, name)
        if rate is not None and not 0.0 <= rate <= 1.0:
            raise InvalidRequest(f"{name} is a rate; give a number from 0 to 1", pointer=f"/{name}")
    if selectors.threshold is not None:
        try:
            float32(selectors.threshold)
        except ValueError:
            raise InvalidRequest("threshold must be a finite float32 number", pointer="/threshold") from None


def _impostor(calibration: Calibration | None, asked: str | None) -> str | None:
    if calibration is None:
        if asked is None:
            return None
        raise OperatingPointUnavailable("this model has no measured impostor types; drop impostor", pointer="/impostor")
    if asked is None:
        return calibration.default_impostor
    usable = [one.type for one in calibration.impostors if not one.external]
    if asked not in usable:
        external = any(one.type == asked for one in calibration.impostors)
        why = "was measured on another population only" if external else "was not measured"
        have = ", ".join(usable)
        raise OperatingPointUnavailable(f"that impostor type {why}; this model has {have}", pointer="/impostor")
    return asked


def _locate(
    calibration: Calibration,
    selectors: Selectors,
    fmr: ImpostorCurve,
    fnmr: GenuineCurve | None,
    *,
    measured: bool,
) -> _Located | None:
    """Where to judge, or None where there is nothing to judge at."""
    impostor = fmr.impostor
    if selectors.threshold is not None:
        return "caller", None, float32(selectors.threshold), None
    if selectors.max_fmr is not None:
        t_match = _match_threshold(fmr, selectors.max_fmr)
        if selectors.max_fnmr is None:
            return "max_fmr", None, t_match, None
        t_no = _no_match_threshold(fnmr, selectors.max_fnmr)
        return "max_fmr_max_fnmr", None, t_match, t_no if t_no < t_match else None
    if not measured:
        return None
    points = {p.name: p for p in calibration.operating_points if p.impostor == impostor}
    name = selectors.operating_point
    if name is not None and name not in points:
        have = ", ".join(points) or "none"
        detail = f"no such operating point for impostor {impostor}; it has {have}"
        raise OperatingPointUnavailable(detail, pointer="/operating_point")
    chosen = calibration.defaults.get(impostor) if name is None else name
    if chosen is None:
        detail = f"impostor {impostor} supports no default operating point; give a threshold, or another impostor"
        raise OperatingPointUnavailable(detail, pointer="/impostor")
    return "default" if name is None else "named", chosen, points[chosen].threshold, None


def _match_threshold(curve: ImpostorCurve, max_fmr: float) -> float:
    threshold = lowest_threshold(curve, max_fmr)
    if threshold is None:
        lowest = f"{curve.high[-1]:.6g} for impostor {curve.impostor}"
        detail = f"the evidence supports no max_fmr below {lowest}; raise max_fmr"
        raise OperatingPointUnavailable(detail, pointer="/max_fmr")
    return threshold


def _no_match_threshold(curve: GenuineCurve | None, max_fnmr: float) -> float:
    if curve is None:
        raise OperatingPointUnavailable("no genuine pairs were measured; drop max_fnmr", pointer="/max_fnmr")
    threshold = highest_threshold(curve, max_fnmr)
    if threshold is None:
        detail = f"the evidence supports no max_fnmr below {curve.high[0]:.6g}; raise max_fnmr"
        raise OperatingPointUnavailable(detail, pointer="/max_fnmr")
    return threshold


def _without_evidence(threshold: float | None, guard_band: float, reasons: tuple[Reason, ...]) -> Choice:
    if threshold is None:
        return Choice(None, None, None, guard_band, None, None, None, reasons)
    cast = np.float32(threshold)
    unknown = dict.fromkeys(("impostor", "fmr", "fnmr", "fmr_by_impostor", "review_rate", "calibration"))
    shown = {"name": None, "source": "caller", "threshold": cast, "threshold_low": None, **unknown}
    return Choice(None, cast, None, guard_band, None, None, shown, reasons)


def _shown(
    calibration: Calibration, located: _Located, fmr: ImpostorCurve, fnmr: GenuineCurve | None
) -> dict[str, Any]:
    """The `operating_point` of the response. With two thresholds FNMR is that of `no_match`, so at the lower one."""
    source, name, threshold, threshold_low = located
    lower = threshold if threshold_low is None else threshold_low
    by_impostor = {}
    for one in calibration.impostors:
        curve = calibration.fmr_curve(one.type)
        assert curve is not None  # Calibration holds one for each impostor type
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
