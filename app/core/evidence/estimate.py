"""Estimates everything in calibration.json that rests on scores: one call for calibration, one for verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from app.core.evidence.binning import choose_knots, histogram, weights_by_unit
from app.core.evidence.calibration import (
    Bootstrap,
    Calibration,
    ImpostorType,
    OperatingPoint,
    Ratio,
    ScoreHistogram,
    UndeterminedRate,
    Verified,
)
from app.core.evidence.curves import fmr_at, fnmr_at
from app.core.evidence.measuring import measure
from app.core.evidence.points import default_name, hardest, name_points
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, Rate
from app.core.evidence.ratio import fit_ratio
from app.core.evidence.samples import GenuineScores, PairScores, Units

HISTOGRAM_BINS = 50


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated members of Calibration, under the same names: `Calibration(id=..., **estimate.members())`."""

    bootstrap: Bootstrap
    guard_band: float
    impostors: tuple[ImpostorType, ...]
    default_impostor: str
    impostor_curves: tuple[ImpostorCurve, ...]
    genuine_curves: tuple[GenuineCurve, ...]
    operating_points: tuple[OperatingPoint, ...]
    defaults: Mapping[str, str]
    ratios: tuple[Ratio, ...]
    undetermined_rate: UndeterminedRate | None
    histogram: ScoreHistogram

    def members(self) -> dict[str, Any]:
        """Name -> value of every member."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def estimate(
    units: Units,
    genuine: GenuineScores | None,
    impostors: Mapping[str, PairScores],
    descriptions: Mapping[str, str],
    *,
    guard_band: float,
    seed: int,
    draws: int = 1000,
    max_knots: int = 400,
) -> Estimate:
    """Curves, operating points, defaults, ratios and histograms of one population, for k = 1, aggregation single.

    impostors: type -> scores measured on this population; descriptions: type -> words for the response. Score each
    unordered item pair once. Where `units.group` is given every rate is drawn groups first, genuine ones and pairs
    across groups too, since units of one group are not independent. About 4 bytes x unit pairs x knots of memory a
    type, and 20 bytes an item pair. Raises ValueError for fewer than 1000 draws, units out of range, or scores that are
    not higher for genuine pairs.
    """
    if draws < 1000:
        raise ValueError("bounds need at least 1000 draws")
    measured = measure(units, genuine, impostors, choose_knots(genuine, impostors, max_knots), draws=draws, seed=seed)
    points = tuple(p for curve in measured.fmr.values() for p in name_points(curve, measured.fnmr))
    defaults = {
        name: chosen
        for name in impostors
        if (chosen := default_name(p for p in points if p.impostor == name)) is not None
    }
    default_impostor = hardest(measured.fmr, measured.fnmr)
    ratios = []
    if measured.genuine is not None:
        ratios = [fit_ratio(name, measured.genuine, sample) for name, sample in measured.impostors.items()]
    return Estimate(
        bootstrap=Bootstrap(draws=draws, seed=seed, groups_first=units.group is not None),
        guard_band=guard_band,
        impostors=tuple(
            ImpostorType(type=name, description=descriptions[name], unit_pairs=binned.rows)
            for name, (binned, _) in measured.impostors.items()
        ),
        default_impostor=default_impostor,
        impostor_curves=tuple(measured.fmr.values()),
        genuine_curves=() if measured.fnmr is None else (measured.fnmr,),
        operating_points=points,
        defaults=defaults,
        ratios=tuple(ratios),
        undetermined_rate=_undetermined(
            genuine,
            impostors[default_impostor],
            [p for p in points if (p.impostor, p.name) == (default_impostor, defaults.get(default_impostor))],
            guard_band,
        ),
        histogram=_histogram(genuine, impostors),
    )


def verify(
    calibration: Calibration,
    units: Units,
    genuine: GenuineScores,
    impostors: Mapping[str, PairScores],
    *,
    population: str,
    seed: int,
    method: Literal["held_out", "cross_fitted"] = "held_out",
    draws: int = 1000,
) -> Calibration:
    """The calibration with `verified` filled in at each operating point whose impostor type is in `impostors`.

    The scores must be of units that had no part in choosing the thresholds; bounds are found as in `estimate`.
    """
    points = verify_points(
        calibration.operating_points,
        units,
        genuine,
        impostors,
        population=population,
        method=method,
        draws=draws,
        seed=seed,
    )
    return calibration.model_copy(update={"operating_points": points})


def verify_points(
    points: Sequence[OperatingPoint],
    units: Units,
    genuine: GenuineScores,
    impostors: Mapping[str, PairScores],
    *,
    population: str,
    seed: int,
    method: Literal["held_out", "cross_fitted"] = "held_out",
    draws: int = 1000,
) -> tuple[OperatingPoint, ...]:
    """The same of operating points alone, whatever number of references the scores are of."""
    thresholds = np.array([p.threshold for p in points], dtype=np.float32)
    knots = np.unique(np.concatenate([choose_knots(genuine, impostors, 400), thresholds]))
    measured = measure(units, genuine, impostors, knots, draws=draws, seed=seed)
    assert measured.fnmr is not None  # genuine scores are given
    checked = []
    for point in points:
        curve = measured.fmr.get(point.impostor)
        if curve is None:
            checked.append(point)
            continue
        verified = Verified(
            method=method,
            population=population,
            fmr=fmr_at(curve, point.threshold),
            fnmr=fnmr_at(measured.fnmr, point.threshold),
            units=units.count,
            unit_pairs=measured.impostors[point.impostor][0].rows,
            genuine_units=measured.fnmr.units,
        )
        checked.append(point.model_copy(update={"verified": verified}))
    return tuple(checked)


def disagree(calibrated: Rate, verified: Rate) -> bool:
    """Whether two measurements of a rate differ beyond both intervals, which then do not overlap."""
    return calibrated.low > verified.high or verified.low > calibrated.high


def disagreements(calibration: Calibration) -> tuple[str, ...]:
    """One line for each rate whose calibration and verification differ; a bundle with any is not published."""
    return disagreeing_points(calibration.operating_points)


def disagreeing_points(points: Sequence[OperatingPoint]) -> tuple[str, ...]:
    """The same of operating points alone."""
    lines = []
    for point in points:
        if point.verified is None:
            continue
        for what, calibrated, verified in (
            ("FMR", point.fmr, point.verified.fmr),
            ("FNMR", point.fnmr, point.verified.fnmr),
        ):
            if calibrated is not None and disagree(calibrated, verified):
                lines.append(
                    f"{point.name} against {point.impostor}: {what} {calibrated.low:.3g}..{calibrated.high:.3g} when "
                    f"calibrated, {verified.low:.3g}..{verified.high:.3g} when verified"
                )
    return tuple(lines)


def _undetermined(
    genuine: GenuineScores | None,
    impostor: PairScores,
    default: Sequence[OperatingPoint],
    guard_band: float,
) -> UndeterminedRate | None:
    if genuine is None or not default:
        return None
    threshold = default[0].threshold
    shares = []
    for scores in (genuine, impostor):
        near = np.abs(scores.score.astype(np.float64) - threshold) < guard_band
        shares.append(float(f"{min(float(weights_by_unit(scores) @ near), 1.0):.6g}"))
    return UndeterminedRate(genuine=shares[0], impostor=shares[1])


def _histogram(genuine: GenuineScores | None, impostors: Mapping[str, PairScores]) -> ScoreHistogram:
    everything: list[PairScores | GenuineScores] = [*impostors.values()]
    if genuine is not None:
        everything.append(genuine)
    low = min(float(scores.score.min()) for scores in everything)
    high = max(float(scores.score.max()) for scores in everything)
    # edges are rounded outwards, so that no score falls outside
    edges = np.linspace(np.floor(low * 1000.0) / 1000.0, np.ceil(high * 1000.0) / 1000.0 + 0.001, HISTOGRAM_BINS + 1)
    shown = tuple(float(f"{edge:.9g}") for edge in edges)
    empty = (0.0,) * HISTOGRAM_BINS
    return ScoreHistogram(
        edges=shown,
        genuine=empty if genuine is None else histogram(genuine, shown),
        impostor={name: histogram(scores, shown) for name, scores in impostors.items()},
    )
