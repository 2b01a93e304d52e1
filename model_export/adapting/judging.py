"""Whether a head is better, on units that neither fitted nor chose it. Where that is not shown, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass

from model_export.beside import measured_items
from model_export.comparing import score_all_pairs
from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.figures import auc, eer
from model_export.measure import keep_labelled, quiet
from model_export.paired import Change, change, resample_both
from model_export.recipe.measuring import Measuring
from model_export.report import Table
from model_export.subjects import LocalSubject


@dataclass(frozen=True)
class Judged:
    """What a head changes on held-out units: impostor type -> change of the area under the ROC curve, and of the EER.

    `hardest` is the type of the lowest area before; the head is better if its area there rises by more than the lower
    bound allows for chance.
    """

    auc: dict[str, Change]
    eer: dict[str, Change]
    hardest: str
    units: int

    @property
    def better(self) -> bool:
        """Whether the lower end of the gain lies above 0."""
        return self.auc[self.hardest].bounds()[0] > 0

    @property
    def line(self) -> str:
        """Both figures and the gain, in words."""
        area, rate = self.auc[self.hardest], self.eer[self.hardest]
        return (
            f"against {self.hardest} impostors ROC AUC {area.before:.4f} before and {area.after:.4f} after, gain "
            f"{_bounded(area)}; EER {rate.before:.4f} before and {rate.after:.4f} after; {self.units} units"
        )

    def table(self) -> Table:
        """Every impostor type, the hardest first."""
        header = ("impostor", "ROC AUC before", "after", "gain, 95 % bounds", "EER before", "after", "change")
        names = sorted(self.auc, key=lambda name: name != self.hardest)
        rows = [(name, *_cells(self.auc[name]), *_cells(self.eer[name])) for name in names]
        return "Before and after the head, on held-out units", [header, *rows]


def judge(before: LocalSubject, after: LocalSubject, splits: Splits, measuring: Measuring) -> Judged:
    """Both bundles, each as it is served, on the test units or the one pool, by a bootstrap that draws units for both.

    Raises CommandError where they cannot be compared.
    """
    items, seed = measured_items(splits), measuring.seed
    sides = []
    for subject in (before, after):
        tell = print if subject is before else quiet
        embedded = keep_labelled(items, subject.embed(items.items), tell=subject is before)
        sides.append(score_all_pairs(embedded, subject.metric, measuring.calibration, seed=seed, tell=tell))
    both = resample_both(sides[0], sides[1], draws=measuring.calibration.draws, seed=seed)
    areas = {name: change(auc, *of) for name, of in both.items()}
    rates = {name: change(eer, *of) for name, of in both.items()}
    return Judged(areas, rates, min(areas, key=lambda name: areas[name].before), sides[0].units.count)


def require_better(judged: Judged, key: str) -> None:
    """Raise CommandError, with both figures, unless the head is better."""
    if not judged.better:
        raise CommandError(f"no better than {key} on what is held out, so nothing is written: {judged.line}")


def _cells(one: Change) -> tuple[str, str, str]:
    return f"{one.before:.4f}", f"{one.after:.4f}", _bounded(one)


def _bounded(one: Change) -> str:
    low, high = one.bounds()
    return f"{one.gain:+.4f} [{low:+.4f}, {high:+.4f}]"
