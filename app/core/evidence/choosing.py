"""The operating point that a request is judged at, chosen once and before any item is decoded. No scores.

Refuses what the evidence cannot support, and says what it does support.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.core.errors import InvalidRequest, OperatingPointUnavailable
from app.core.evidence.calibration import Calibration, OperatingPoint, Ratio
from app.core.evidence.curves import highest_threshold, lowest_threshold
from app.core.evidence.describing import Located, show_choice
from app.core.evidence.points import points_at
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, float32, round_rate
from app.core.evidence.references import measured_sizes
from app.core.scoring import Aggregation

Status = Literal["released", "demonstration"]
Side = Literal["a", "b", "probe", "reference"]

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
    """Why a verdict is undetermined, or what its rates do not cover. `side` is set where one item is at fault: `a` or
    `b` of a pair, `probe` or `reference` where a probe is compared with references.
    """

    code: str
    side: Side | None
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
    calibration: Calibration | None,
    status: Status,
    selectors: Selectors,
    *,
    guard_band_floor: float = FP32_GUARD_BAND,
    k: int = 1,
    aggregation: Aggregation = "single",
    references: int = 1,
) -> Choice:
    """The operating point that a request is judged at.

    `status` is the manifest's. The guard band is the calibration's; `guard_band_floor` stands in where there is none
    (1e-5 for fp32, 1e-3 for fp16 and int8). It holds for k items too, since neither the highest nor the mean of k
    scores moves more than one of them. `references`: a probe is compared with so many identities, of k items each, and
    `max_fmr` is for all together.

    Raises InvalidRequest for selectors that exclude each other or are out of range, OperatingPointUnavailable for what
    the evidence does not support, saying what it does; without a pointer where that is so for this k only.
    """
    _check(selectors)
    impostor = _impostor(calibration, selectors.impostor)
    lacking = _lacking(calibration, status)
    asked = next((name for name in ("operating_point", "max_fmr") if getattr(selectors, name) is not None), None)
    if lacking is not None and asked is not None:
        why = "has no measured error rates" if calibration is None else "has too little evidence for an operating point"
        raise OperatingPointUnavailable(f"this model {why}; give a threshold instead of {asked}", pointer=f"/{asked}")
    if calibration is None or impostor is None:
        return _without_evidence(selectors.threshold, guard_band_floor, UNCALIBRATED)
    points, default = points_at(calibration, impostor, k, aggregation)
    if lacking is None and k > 1 and default is None:
        lacking = _lacking_for(calibration, impostor, k, aggregation)
    if lacking is not None and asked is not None:
        raise OperatingPointUnavailable(f"{lacking.detail} Or give a threshold instead of {asked}.")
    fmr, fnmr = calibration.fmr_curve(impostor, k, aggregation), calibration.fnmr_curve(k, aggregation)
    if fmr is None:
        return _without_evidence(selectors.threshold, calibration.guard_band, lacking or INSUFFICIENT)
    standing: tuple[Reason, ...] = () if lacking is None else (lacking,)
    if fnmr is None:
        standing += (FNMR_UNKNOWN,)
    located = _locate(
        selectors, fmr, fnmr, points=points if lacking is None else None, default=default, many=references
    )
    shown, t_match, t_no = None, None, None
    if located is not None:
        _, _, high, low = located
        t_match, t_no = np.float32(high), None if low is None else np.float32(low)
        shown = show_choice(calibration, located, fmr, fnmr)
    ratio = calibration.ratio(impostor, k, aggregation)
    return Choice(calibration, t_match, t_no, calibration.guard_band, fmr, ratio, shown, standing)


def _lacking(calibration: Calibration | None, status: Status) -> Reason | None:
    """Why a model can claim nothing, or None."""
    if calibration is None:
        return UNCALIBRATED
    return None if status == "released" and calibration.supported else INSUFFICIENT


def _lacking_for(calibration: Calibration, impostor: str, k: int, aggregation: Aggregation) -> Reason:
    """Why nothing can be claimed for k items of an identity: not measured, or with too few identities."""
    if calibration.fmr_curve(impostor, k, aggregation) is None:
        have = ", ".join(map(str, measured_sizes(calibration, impostor, aggregation)))
        detail = (
            f"No error rate was measured for {k} items of a reference, aggregation {aggregation}; send {have} each."
        )
        return Reason("uncalibrated", None, detail)
    detail = f"Too few identities with {k} items were measured to claim a false match rate of 1 in 10."
    return Reason("insufficient_evidence", None, detail)


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
    selectors: Selectors,
    fmr: ImpostorCurve,
    fnmr: GenuineCurve | None,
    *,
    points: Sequence[OperatingPoint] | None,
    default: str | None,
    many: int,
) -> Located | None:
    """Where to judge, or None where there is nothing to judge at, as without points; `default` is the name of one."""
    impostor = fmr.impostor
    if selectors.threshold is not None:
        return "caller", None, float32(selectors.threshold), None
    if selectors.max_fmr is not None:
        t_match = _match_threshold(fmr, selectors.max_fmr, many)
        if selectors.max_fnmr is None:
            return "max_fmr", None, t_match, None
        t_no = _no_match_threshold(fnmr, selectors.max_fnmr)
        return "max_fmr_max_fnmr", None, t_match, t_no if t_no < t_match else None
    if points is None:
        return None
    by_name = {point.name: point for point in points}
    name = selectors.operating_point
    if name is not None and name not in by_name:
        have = ", ".join(by_name) or "none"
        detail = f"no such operating point for impostor {impostor}; it has {have}"
        raise OperatingPointUnavailable(detail, pointer="/operating_point")
    chosen = default if name is None else name
    if chosen is None:
        detail = f"impostor {impostor} supports no default operating point; give a threshold, or another impostor"
        raise OperatingPointUnavailable(detail, pointer="/impostor")
    return "default" if name is None else "named", chosen, by_name[chosen].threshold, None


def _match_threshold(curve: ImpostorCurve, max_fmr: float, many: int) -> float:
    threshold = lowest_threshold(curve, share_max_fmr(max_fmr, many))
    if threshold is None:
        lowest, whom, what = curve.high[-1], f"impostor {curve.impostor}", "raise max_fmr"
        if many > 1:
            lowest, whom = round_rate(lowest * many, "up"), f"{whom} and {many} references"
            what = "send fewer references" if lowest > 1.0 else "raise max_fmr or send fewer references"
        detail = f"the evidence supports no max_fmr below {lowest:.6g} for {whom}; {what}"
        raise OperatingPointUnavailable(detail, pointer="/max_fmr")
    return threshold


def share_max_fmr(max_fmr: float, references: int) -> float:
    """What each of so many comparisons is held to, so that together they are held to max_fmr: Boole's inequality.

    One step up where a division may have rounded down: a third of 0.3 is 0.1.
    """
    return max_fmr if references == 1 else math.nextafter(max_fmr / references, 1.0)


def _no_match_threshold(curve: GenuineCurve | None, max_fnmr: float) -> float:
    if curve is None:
        raise OperatingPointUnavailable("no genuine pairs were measured; drop max_fnmr", pointer="/max_fnmr")
    threshold = highest_threshold(curve, max_fnmr)
    if threshold is None:
        detail = f"the evidence supports no max_fnmr below {curve.high[0]:.6g}; raise max_fnmr"
        raise OperatingPointUnavailable(detail, pointer="/max_fnmr")
    return threshold


def _without_evidence(threshold: float | None, guard_band: float, lacking: Reason) -> Choice:
    reasons = (lacking,)
    if threshold is None:
        return Choice(None, None, None, guard_band, None, None, None, reasons)
    cast = np.float32(threshold)
    unknown = dict.fromkeys(("impostor", "fmr", "fnmr", "fmr_by_impostor", "review_rate", "calibration"))
    shown = {"name": None, "source": "caller", "threshold": cast, "threshold_low": None, **unknown}
    return Choice(None, cast, None, guard_band, None, None, shown, reasons)
