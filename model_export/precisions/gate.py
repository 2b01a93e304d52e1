"""What a precision may lose against fp32, on the same comparisons. Beyond it nothing is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_export.comparing import Scores
from model_export.figures import auc, fnmr_at
from model_export.paired import Sides, change, resample_both
from model_export.report import Table

MOST_AUC_LOST = 0.005
MOST_FNMR_GAINED, MOST_FNMR_SHARE = 0.01, 0.1
"""FNMR may rise by the larger of the first, and of this share of itself."""
WANTED_FMR, LAXEST_FMR = 1e-2, 1e-1
"""FNMR is compared at the first, or at the least that the sample supports; beyond the second it says too little."""


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
    both = resample_both(full, small, draws=draws, seed=seed)
    return [_compare(name, *sides) for name, sides in both.items()]


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


def _compare(name: str, full: Sides, small: Sides) -> Loss:
    supported = max(WANTED_FMR, 3 / full.impostor.rows)
    fmr = supported if supported <= LAXEST_FMR else None
    areas, rates = change(auc, full, small), change(fnmr_at(WANTED_FMR if fmr is None else fmr), full, small)
    return Loss(
        name,
        auc=(areas.before, areas.after),
        fmr=fmr,
        fnmr=(rates.before, rates.after),
        rise=rates.percentiles(),
    )
