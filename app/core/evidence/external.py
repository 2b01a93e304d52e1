"""What is reported without being claimed: impostors of another population, and evidence that is withdrawn.

An encoder made for one population is often used on another. What such impostors do at the thresholds that the own
population chose is worth telling, and is no operating point.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.core.evidence.binning import choose_knots
from app.core.evidence.calibration import Calibration, ImpostorType
from app.core.evidence.measuring import measure
from app.core.evidence.samples import PairScores, Units


def add_external(
    calibration: Calibration,
    units: Units,
    impostors: Mapping[str, PairScores],
    descriptions: Mapping[str, str],
    *,
    population: str,
    seed: int,
    draws: int = 1000,
    max_knots: int = 400,
) -> Calibration:
    """The calibration with these types as external ones: their FMR curves, exact at every stored threshold.

    units, impostors: of the other population, type -> scores at this bundle's fingerprint; bounds as in `estimate`. No
    operating point, default or ratio is added. Raises ValueError for a type that the calibration has already.
    """
    if known := sorted({one.type for one in calibration.impostors} & set(impostors)):
        raise ValueError(f"impostor type {known[0]} is measured already")
    thresholds = np.array([point.threshold for point in calibration.operating_points], np.float32)
    knots = np.unique(np.concatenate([choose_knots(None, impostors, max_knots), thresholds]))
    measured = measure(units, None, impostors, knots, draws=draws, seed=seed)
    types = tuple(
        ImpostorType(
            type=name,
            description=descriptions[name],
            external=True,
            population=population,
            unit_pairs=measured.impostors[name][0].rows,
        )
        for name in impostors
    )
    pairs = {**calibration.counts.impostor_pairs, **{name: len(scores.score) for name, scores in impostors.items()}}
    changed: dict[str, object] = {
        "impostors": (*calibration.impostors, *types),
        "impostor_curves": (*calibration.impostor_curves, *measured.fmr.values()),
        "counts": calibration.counts.model_copy(update={"impostor_pairs": pairs}),
    }
    members = {name: getattr(calibration, name) for name in type(calibration).model_fields}
    return Calibration.model_validate({**members, **changed})  # model_copy would not check what is added


def withdraw_claims(calibration: Calibration) -> Calibration:
    """The calibration without an operating point but `eer` and without defaults, so that its bundle is a demonstration.

    For figures of items that are no sample of independent units, however many there are.
    """
    changed: dict[str, object] = {
        "operating_points": tuple(point for point in calibration.operating_points if point.name == "eer"),
        "defaults": {},
        "undetermined_rate": None,
    }
    members = {name: getattr(calibration, name) for name in type(calibration).model_fields}
    return Calibration.model_validate({**members, **changed})
