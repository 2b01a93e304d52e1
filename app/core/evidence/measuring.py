"""From scores to curves with bounds: binned, resampled by unit, bounded. Names no threshold and keeps no score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.evidence.binning import Binned, bin_scores
from app.core.evidence.bounds import bound_fmr, bound_fnmr
from app.core.evidence.rates import GenuineCurve, ImpostorCurve
from app.core.evidence.resampling import Resampled, draw_weights, resample
from app.core.evidence.samples import GenuineScores, PairScores, Units
from app.core.scoring import Aggregation, Float32


@dataclass(frozen=True, slots=True)
class Measured:
    """Curves on common knots, and the binned scores and draws behind them; genuine and fnmr are None without pairs."""

    genuine: tuple[Binned, Resampled] | None
    impostors: Mapping[str, tuple[Binned, Resampled]]
    fnmr: GenuineCurve | None
    fmr: Mapping[str, ImpostorCurve]


def measure(
    units: Units,
    genuine: GenuineScores | None,
    impostors: Mapping[str, PairScores],
    knots: Float32,
    *,
    draws: int,
    seed: int,
    k: int = 1,
    aggregation: Aggregation = "single",
) -> Measured:
    """Curves at ascending knots, of scores against k items each. Raises ValueError for units out of range."""
    if not impostors:
        raise ValueError("evidence needs at least one impostor type")
    weights = draw_weights(units, draws, seed)
    samples = {}
    for name, scores in impostors.items():
        _check_units(units, scores.unit_a, scores.unit_b)
        binned = bin_scores(scores, knots)
        samples[name] = binned, resample(binned, weights, within_groups=scores.within_groups)
    mine = None
    if genuine is not None:
        _check_units(units, genuine.unit)
        binned = bin_scores(genuine, knots)
        mine = binned, resample(binned, weights)
    key = {"k": k, "aggregation": aggregation}
    return Measured(
        genuine=mine,
        impostors=samples,
        fnmr=None if mine is None else GenuineCurve(units=mine[0].rows, **key, **_columns(mine[1], fmr=False)),
        fmr={name: ImpostorCurve(impostor=name, **key, **_columns(one[1], fmr=True)) for name, one in samples.items()},
    )


def _columns(sample: Resampled, *, fmr: bool) -> dict[str, Any]:
    bounded = bound_fmr(sample) if fmr else bound_fnmr(sample)
    return {
        "thresholds": tuple(sample.knots.tolist()),
        "value": tuple(bounded.value.tolist()),
        "low": tuple(bounded.low.tolist()),
        "high": tuple(bounded.high.tolist()),
    }


def _check_units(units: Units, *numbers: Any) -> None:
    if any(n.min() < 0 or n.max() >= units.count for n in numbers):
        raise ValueError(f"units are numbered 0 to {units.count - 1}")
