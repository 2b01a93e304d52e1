"""Evidence for several references, the recipe's `calibration.references`: curves on the calibration units. The points
that follow are verified on the test units, or by cross-fitting inside the one pool, as those for one reference are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.evidence import (
    Calibration,
    OperatingPoint,
    add_references,
    cross_fit_points,
    disagreeing_points,
    reference_points,
    verify_points,
)
from app.core.scoring import Aggregation, Float32, Metric
from model_export.card import POINT_HEADER, Table, point_row
from model_export.comparing import Scores
from model_export.errors import CommandError
from model_export.measure import Embedded
from model_export.recipe.measuring import Measuring
from model_export.references import AGGREGATION_WORDS, score_references


@dataclass(frozen=True)
class Part:
    """A part of the data as it was embedded and compared one by one."""

    embedded: Embedded
    scores: Scores


def measure_references(
    calibration: Calibration, metric: Metric, recipe: Measuring, *, pool: Part, test: Part | None, population: str
) -> tuple[Calibration, list[Table]]:
    """The calibration with curves for each number of references of the recipe, and their points as tables.

    test: None where the points are verified inside the pool; population: who verified them, in words. Raises
    CommandError where identities have too few items, or where curves and their verification disagree.
    """
    chosen, tables = recipe.calibration, []
    for k in chosen.references:
        print(f"comparing with {k} references at once")
        found = score_references(pool.embedded, metric, chosen, pool.scores, k, seed=recipe.seed)
        tested = None
        if test is not None:
            tested = score_references(test.embedded, metric, chosen, test.scores, k, seed=recipe.seed)
        points: dict[Aggregation, Sequence[OperatingPoint]] = {}
        for how, scores in found.items():
            calibration = add_references(
                calibration,
                scores.units,
                scores.genuine,
                scores.impostors,
                k=k,
                aggregation=how,
                draws=chosen.draws,
                seed=recipe.seed,
            )
            points[how] = _verify(
                reference_points(calibration, k, how),
                scores if tested is None else tested[how],
                recipe,
                population=population,
                knots=_knots(calibration, k, how) if tested is None else None,
            )
            if broken := disagreeing_points(points[how]):
                raise CommandError(
                    f"with {k} references, {AGGREGATION_WORDS[how]}, calibration and verification disagree, so nothing "
                    f"is published: {'; '.join(broken)}"
                )
        tables.append(points_table(k, points))
    return calibration, tables


def points_table(k: int, points: Mapping[Aggregation, Sequence[OperatingPoint]]) -> Table:
    """The points for k references, by what counts of their scores."""
    rows = [(AGGREGATION_WORDS[how], *point_row(point)) for how, own in points.items() for point in own]
    return f"{k} references of one identity at once", [("what counts", *POINT_HEADER), *rows]


def _verify(
    points: Sequence[OperatingPoint], scores: Scores, recipe: Measuring, *, population: str, knots: Float32 | None
) -> Sequence[OperatingPoint]:
    """The points verified on other units; where these are the pool that chose them, inside it, at the curves' `knots`.

    As they are, and said aloud, where units are too few for that.
    """
    chosen = recipe.calibration
    sample = scores.units, scores.genuine, scores.impostors
    words: dict[str, Any] = {"population": population, "draws": chosen.draws, "seed": recipe.seed}
    if knots is None:
        return verify_points(points, *sample, **words)
    try:
        return cross_fit_points(points, knots, *sample, folds=chosen.folds, **words)
    except ValueError as error:
        print(f"nothing is verified with several references: {error}")
        return points


def _knots(calibration: Calibration, k: int, how: Aggregation) -> Float32:
    """The thresholds that the curves of this key share."""
    curve = calibration.fmr_curve(calibration.default_impostor, k, how)
    assert curve is not None  # it was just added
    return np.array(curve.thresholds, np.float32)
