"""Evidence for several references at once: curves of {impostor, k, aggregation} with k > 1, added to a calibration.

A probe is compared with k items of one identity, and the highest or the mean of the k scores decides. Such scores are
distributed otherwise than single ones (the highest of five impostor scores is higher), so that a threshold holds for
the number of references that it was measured with and for no other. Everything else is as for one reference: every
unit pair and every unit weighs the same, the same draws give the bounds, and the points follow by the same rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.core.evidence.binning import choose_knots
from app.core.evidence.calibration import Calibration, OperatingPoint
from app.core.evidence.measuring import measure
from app.core.evidence.points import points_at
from app.core.evidence.samples import GenuineScores, PairScores, Units
from app.core.scoring import Aggregation


def add_references(
    calibration: Calibration,
    units: Units,
    genuine: GenuineScores | None,
    impostors: Mapping[str, PairScores],
    *,
    k: int,
    aggregation: Aggregation,
    seed: int,
    draws: int = 1000,
    max_knots: int = 400,
) -> Calibration:
    """The calibration with curves of these types for k references; genuine is None for types of another population.

    A pair's units are those of the probe and of the references. Thresholds of points that k has already are knots, so
    that external types are exact at those of the own ones. Raises ValueError for k = 1, a type that the calibration
    does not have, or a key that it has already.
    """
    if k < 2 or aggregation == "single":
        raise ValueError("one reference is measured by estimate; give 2 or more, and max or mean")
    thresholds = [point.threshold for point in reference_points(calibration, k, aggregation)]
    knots = np.concatenate([choose_knots(genuine, impostors, max_knots), np.array(thresholds, np.float32)])
    measured = measure(
        units, genuine, impostors, np.unique(knots), draws=draws, seed=seed, k=k, aggregation=aggregation
    )
    changed: dict[str, object] = {"impostor_curves": (*calibration.impostor_curves, *measured.fmr.values())}
    if measured.fnmr is not None:
        changed["genuine_curves"] = (*calibration.genuine_curves, measured.fnmr)
    members = {name: getattr(calibration, name) for name in type(calibration).model_fields}
    return Calibration.model_validate({**members, **changed})  # model_copy would not check what is added


def reference_points(calibration: Calibration, k: int, aggregation: Aggregation) -> tuple[OperatingPoint, ...]:
    """The points of all types measured on this population for k references, as a request can name them."""
    own = [one.type for one in calibration.impostors if not one.external]
    return tuple(point for name in own for point in points_at(calibration, name, k, aggregation)[0])


def measured_sizes(calibration: Calibration, impostor: str, aggregation: Aggregation) -> tuple[int, ...]:
    """The numbers of references that have rates with this aggregation, in order; 1 is always among them."""
    curves = [curve for curve in calibration.impostor_curves if curve.impostor == impostor]
    return tuple(sorted({curve.k for curve in curves if curve.k == 1 or curve.aggregation == aggregation}))
