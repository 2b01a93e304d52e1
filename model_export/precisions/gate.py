"""What a precision may lose against fp32, on the same comparisons. Beyond it nothing is published.

Both precisions embed the same items, so that their scores are of the same pairs and units, and every draw of the
bootstrap gives a unit one weight for both: what the units have in common falls out of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence.binning import bin_scores, choose_knots
from app.core.evidence.resampling import Draws, Resampled, draw_weights, resample
from model_export.comparing import Scores
from model_export.errors import CommandError
from model_export.figures import Bins, auc, fnmr_at
from model_export.report import Table

MOST_AUC_LOST = 0.005
MOST_FNMR_GAINED, MOST_FNMR_SHARE = 0.01, 0.1
"""FNMR may rise by the larger of the first, and of this share of itself."""
WANTED_FMR, LAXEST_FMR = 1e-2, 1e-1
"""FNMR is compared at the first, or at the least that the sample supports; beyond the second it says too little."""
KNOTS = 400


@dataclass(frozen=True)
class Loss:
    """One impostor type: figures of fp32 and of the precision, in that order.

    `fmr` is where FNMR was taken, None where the sample supports none up to LAXEST_FMR; `rise` is the lower and the
    upper 95 % bound of the rise of FNMR.
    """

    impostor: str
    auc: tuple[float, float]
    fmr: float | None
    fnmr: tuple[float, float]
    rise: tuple[float, float]

    @property
    def reasons(self) -> list[str]:
        """Why this is too much, with the figures; empty where it is not."""
        found = []
        if self.auc[0] - self.auc[1] > MOST_AUC_LOST:
            found.append(
                f"against {self.impostor} impostors ROC AUC falls from {self.auc[0]:.4f} to {self.auc[1]:.4f}, by more "
                f"than {MOST_AUC_LOST}"
            )
        most = max(MOST_FNMR_GAINED, MOST_FNMR_SHARE * self.fnmr[0])
        if self.fmr is not None and self.fnmr[1] - self.fnmr[0] > most and self.rise[0] > 0:
            found.append(
                f"against {self.impostor} impostors FNMR at FMR {self.fmr:.2g} rises from {self.fnmr[0]:.4f} to "
                f"{self.fnmr[1]:.4f}, by more than {most:.2g}, 95 % bounds {self.rise[0]:.4f} to {self.rise[1]:.4f}"
            )
        return found


def compare_precisions(full: Scores, small: Scores, *, draws: int, seed: int) -> list[Loss]:
    """What is lost from the scores of fp32, `full`, to those of the same items in less precision, `small`.

    Raises CommandError for scores that are not of the same comparisons, or of too few units.
    """
    if len(full.genuine.score) != len(small.genuine.score) or full.units.count != small.units.count:
        raise CommandError("the two precisions do not embed the same items, so that they cannot be compared")
    try:
        weights = draw_weights(full.units, draws, seed)
        pairs = [(_resample(full, name, weights), _resample(small, name, weights)) for name in full.impostors]
    except ValueError as error:
        raise CommandError(f"these comparisons cannot judge a precision: {error}") from error
    return [_compare(name, *pair) for name, pair in zip(full.impostors, pairs, strict=True)]


def loss_table(losses: Sequence[Loss], precision: str) -> Table:
    """The losses as a table, the first row its header."""
    header = ("impostor", "ROC AUC fp32", precision, "FNMR at FMR", "fp32", precision, "rise, 95 % bounds")
    rows = [
        (
            one.impostor,
            f"{one.auc[0]:.4f}",
            f"{one.auc[1]:.4f}",
            *(
                ("beyond the sample", "", "", "")
                if one.fmr is None
                else (
                    f"{one.fmr:.2g}",
                    f"{one.fnmr[0]:.4f}",
                    f"{one.fnmr[1]:.4f}",
                    f"{one.fnmr[1] - one.fnmr[0]:+.4f} [{one.rise[0]:+.4f}, {one.rise[1]:+.4f}]",
                )
            ),
        )
        for one in losses
    ]
    return f"What {precision} loses against fp32", [header, *rows]


_Sides = tuple[Resampled, Resampled]


def _resample(scores: Scores, name: str, weights: Draws) -> _Sides:
    """Genuine scores, and impostor scores of a type, under every draw."""
    impostors = scores.impostors[name]
    knots = choose_knots(scores.genuine, {name: impostors}, KNOTS)
    return (
        resample(bin_scores(scores.genuine, knots), weights),
        resample(bin_scores(impostors, knots), weights, within_groups=impostors.within_groups),
    )


def _compare(name: str, full: _Sides, small: _Sides) -> Loss:
    supported = max(WANTED_FMR, 3 / full[1].rows)
    fmr = supported if supported <= LAXEST_FMR else None
    figure = fnmr_at(WANTED_FMR if fmr is None else fmr)
    before, after = figure(*_drawn(full)), figure(*_drawn(small))
    low, high = np.quantile(after - before, (0.025, 0.975))
    return Loss(
        name,
        auc=(_one(auc(*_point(full))), _one(auc(*_point(small)))),
        fmr=fmr,
        fnmr=(_one(figure(*_point(full))), _one(figure(*_point(small)))),
        rise=(float(low), float(high)),
    )


def _point(sides: _Sides) -> tuple[Bins, Bins]:
    """The sample itself, as one draw: shares by bin (1, bins) each."""
    genuine, impostor = sides
    return genuine.point[np.newaxis], impostor.point[np.newaxis]


def _drawn(sides: _Sides) -> tuple[Bins, Bins]:
    """The draws that gave both sides any weight; the same ones for both precisions, whose units are the same."""
    genuine, impostor = sides
    kept = genuine.drawn & impostor.drawn
    return genuine.draws[kept[genuine.drawn]], impostor.draws[kept[impostor.drawn]]


def _one(values: npt.NDArray[np.float64]) -> float:
    (value,) = values.tolist()
    return float(value)
