"""Two encoders on the same comparisons: how much a figure changes, with bounds of the change.

Both embed the same items, so that their scores are of the same pairs and units, and every draw of the bootstrap gives a
unit one weight for both: what the units have in common falls out of the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from app.core.evidence.binning import bin_scores, choose_knots
from app.core.evidence.resampling import Draws, Resampled, draw_weights, resample
from model_export.comparing import Scores
from model_export.errors import CommandError
from model_export.figures import FEWEST_UNITS, KNOTS, Bins, pair_draws

LEVELS = (0.025, 0.975)

Figure = Callable[[Bins, Bins], Bins]
"""A figure of genuine and impostor shares by bin (draws, bins), one value a draw."""


@dataclass(frozen=True)
class Sides:
    """Genuine scores, and impostor scores of one type, under every draw."""

    genuine: Resampled
    impostor: Resampled

    @property
    def clusters(self) -> int:
        """The independent units, or groups, of the smaller side."""
        return min(self.genuine.clusters, self.impostor.clusters)


@dataclass(frozen=True)
class Change:
    """A figure of both encoders on the sample, and its change in every draw, float64 (draws,)."""

    before: float
    after: float
    drawn: npt.NDArray[np.float64]
    clusters: int

    @property
    def gain(self) -> float:
        """What the figure rose by."""
        return self.after - self.before

    def percentiles(self) -> tuple[float, float]:
        """The 2.5 and 97.5 % quantiles of the change."""
        low, high = np.quantile(self.drawn, LEVELS)
        return float(low), float(high)

    def bounds(self) -> tuple[float, float]:
        """The percentiles, widened by Student's t with units - 1 degrees of freedom, as app.core.evidence.bounds widens
        a rate; nothing is bounded from fewer than FEWEST_UNITS units, whose draws are nearly all alike.
        """
        if self.clusters < FEWEST_UNITS:
            return -float("inf"), float("inf")
        low, high = self.percentiles()
        freedom = self.clusters - 1
        spread = float(student.ppf(LEVELS[1], freedom) * self.drawn.std() * np.sqrt(self.clusters / freedom))
        return min(low, self.gain - spread), max(high, self.gain + spread)


def resample_both(before: Scores, after: Scores, *, draws: int, seed: int) -> dict[str, tuple[Sides, Sides]]:
    """Impostor type -> both encoders under the same draws.

    Raises CommandError for scores that are not of the same comparisons, or of too few units.
    """
    if len(before.genuine.score) != len(after.genuine.score) or before.units.count != after.units.count:
        raise CommandError("the two do not embed the same items, so that they cannot be compared")
    try:
        weights = draw_weights(before.units, draws, seed)
        return {name: (_resample(before, name, weights), _resample(after, name, weights)) for name in before.impostors}
    except ValueError as error:
        raise CommandError(f"these comparisons cannot judge a change: {error}") from error


def change(figure: Figure, before: Sides, after: Sides) -> Change:
    """The figure of both, and its change in every draw that gave both sides some weight."""
    drawn = figure(*pair_draws(after.genuine, after.impostor)) - figure(*pair_draws(before.genuine, before.impostor))
    return Change(_one(figure(*_point(before))), _one(figure(*_point(after))), drawn, before.clusters)


def _resample(scores: Scores, name: str, weights: Draws) -> Sides:
    impostors = scores.impostors[name]
    knots = choose_knots(scores.genuine, {name: impostors}, KNOTS)
    return Sides(
        resample(bin_scores(scores.genuine, knots), weights),
        resample(bin_scores(impostors, knots), weights, within_groups=impostors.within_groups),
    )


def _point(sides: Sides) -> tuple[Bins, Bins]:
    """The sample itself, as one draw: shares by bin (1, bins) each."""
    return sides.genuine.point[np.newaxis], sides.impostor.point[np.newaxis]


def _one(values: npt.NDArray[np.float64]) -> float:
    (value,) = values.tolist()
    return float(value)
