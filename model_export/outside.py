"""A recipe's `[[external]]` populations: their comparisons, and tables for the card.

With several references a new item is compared with each, and the highest or the mean score decides; a stored operating
point is for one reference, and holds for no other number of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence import (
    Calibration,
    GenuineScores,
    PairScores,
    Rate,
    Units,
    add_external,
    add_references,
    fmr_at,
    fnmr_at,
    measure,
)
from app.core.evidence.binning import choose_knots
from app.core.scoring import Aggregation, similarity_matrix
from model_export.card import show
from model_export.comparing import Scores
from model_export.datasets import OtherPopulation
from model_export.errors import CommandError
from model_export.populations import read_other_population
from model_export.recipe import External
from model_export.references import AGGREGATION_WORDS, draw_references
from model_export.report import Table
from model_export.subjects import Subject
from model_export.tables import verification_table

RANDOM, SKILLED = "random", "skilled"
ACCEPTED_AT = 1e-2
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outside:
    """What was measured on one other population: `single` comparisons, and `several` references by their number and
    aggregation.

    The impostors of every Scores bear the types' own names.
    """

    chosen: External
    single: Scores
    several: Mapping[tuple[int, Aggregation], Scores]

    def by_words(self) -> dict[str, Scores]:
        """All of them, as tables call them."""
        several = {f"{count}, {AGGREGATION_WORDS[how]}": scores for (count, how), scores in self.several.items()}
        return {"1": self.single, **several}


def measure_outside(subject: Subject, chosen: External, seed: int) -> Outside:
    """Embed and compare the population that a section names. Raises CommandError where it cannot be measured."""
    return compare_outside(subject, chosen, read_other_population(chosen), seed)


def compare_outside(subject: Subject, chosen: External, population: OtherPopulation, seed: int) -> Outside:
    """All comparisons of a population; an item that the service would refuse is left out, and said."""
    rows = subject.embed(population.items.items)
    for code, share in rows.failure_to_acquire.items():
        print(f"{share:.2%} of the items of {chosen.population} are refused: {code}")
    items, imitates = population.items.select(rows.kept), population.imitates[rows.kept]
    one = _Compared(
        similarity_matrix(rows.vectors, rows.vectors, subject.metric),
        items.identity,
        np.unique(items.unit, return_inverse=True)[1],
        imitates,
        {kind.kind: kind.type for kind in chosen.impostors},
    )
    several = {
        (count, how): scores
        for count in chosen.references
        for how, scores in one.against_references(count, seed).items()
    }
    return Outside(chosen, one.single(), several)


@dataclass(frozen=True)
class _Compared:
    """Every item's score with every other, float32 (items, items), and what they are; `types` maps kinds to names."""

    score: npt.NDArray[np.float32]
    identity: Numbers
    unit: Numbers
    imitates: Numbers
    types: Mapping[str, str]

    def single(self) -> Scores:
        """Each unordered pair once."""
        first, second = np.triu_indices(len(self.identity), k=1)
        score = self.score[first, second]
        own = self.imitates < 0
        both = own[first] & own[second]
        same = self.identity[first] == self.identity[second]
        forged = (self.imitates[second] == self.identity[first]) & own[first]
        forged |= (self.imitates[first] == self.identity[second]) & own[second]
        apart = self.unit[first] != self.unit[second]
        kinds = {RANDOM: both & ~same & apart, SKILLED: forged & apart}
        return self._scores(score, self.unit[first], self.unit[second], both & same, kinds)

    def against_references(self, count: int, seed: int) -> dict[Aggregation, Scores]:
        """Each identity's references are drawn from its own items; all other items are compared with them."""
        own = self.imitates < 0
        drawn = draw_references(self.score, np.where(own, self.identity, -1), count, seed)
        whose, probe = drawn.reference, drawn.probe
        genuine = own[probe] & (self.identity[probe] == self.identity[whose])
        apart = self.unit[probe] != self.unit[whose]
        skilled = self.imitates[probe] == self.identity[whose]
        kinds = {RANDOM: own[probe] & ~genuine & apart, SKILLED: skilled & apart}
        return {
            how: self._scores(score, self.unit[whose], self.unit[probe], genuine, kinds)
            for how, score in drawn.score.items()
        }

    def _scores(
        self, score: npt.NDArray[np.float32], a: Numbers, b: Numbers, genuine: Mask, kinds: Mapping[str, Mask]
    ) -> Scores:
        for kind, name in self.types.items():
            if not kinds[kind].any():
                raise CommandError(f"external.impostors: there is no pair of kind {kind} for the type {name}")
        if not genuine.any():
            raise CommandError("external: there is no genuine pair")
        low, high = np.minimum(a, b), np.maximum(a, b)
        impostors = {name: kinds[kind] for kind, name in self.types.items()}
        return Scores(
            Units(int(self.unit.max()) + 1),
            GenuineScores(score[genuine], a[genuine]),
            {name: PairScores(score[mask], low[mask], high[mask]) for name, mask in impostors.items()},
        )


def add_outside(calibration: Calibration, outside: Outside, *, draws: int, seed: int) -> Calibration:
    """The calibration with the population's types as external ones; for several references too, where the evidence has
    curves for as many.
    """
    chosen = outside.chosen
    words = {one.type: one.words for one in chosen.impostors}
    impostors = outside.single.impostors
    calibration = add_external(
        calibration, outside.single.units, impostors, words, population=chosen.population, seed=seed, draws=draws
    )
    for (k, how), scores in outside.several.items():
        if calibration.fmr_curve(calibration.default_impostor, k, how) is not None:
            calibration = add_references(
                calibration, scores.units, None, scores.impostors, k=k, aggregation=how, seed=seed, draws=draws
            )
    return calibration


def outside_tables(outside: Outside, calibration: Calibration | None, *, draws: int, seed: int) -> list[Table]:
    """Figures by number of references, and the shares accepted at thresholds of the evidence and of the population."""
    accepted = _accepted_rows(outside.by_words(), calibration, draws=draws, seed=seed)
    return [
        figures_table(outside, draws=draws, seed=seed),
        (f"Accepted there ({outside.chosen.population})", accepted),
    ]


def figures_table(outside: Outside, *, draws: int, seed: int) -> Table:
    """The figures of verification by number of references."""
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    for references, scores in outside.by_words().items():
        first, *own = verification_table("", scores, draws=draws, seed=seed)[1]
        header = "references", *first
        rows += [(references, *row) for row in own]
    chosen = outside.chosen
    heading = (
        f"Measured on another population, never trained on: {chosen.population}; by {chosen.unit} ({chosen.licence})"
    )
    return heading, [header, *rows]


def _accepted_rows(
    every: Mapping[str, Scores], calibration: Calibration | None, *, draws: int, seed: int
) -> Sequence[tuple[str, ...]]:
    types = list(next(iter(every.values())).impostors)
    rows = [("references", "threshold", *(f"accepted of `{name}`" for name in types), "genuine missed")]
    for references, scores in every.items():
        points = () if calibration is None or references != "1" else calibration.operating_points
        stored = {f"{p.name} against {p.impostor} of the evidence": p.threshold for p in points if p.name != "eer"}
        knots = choose_knots(scores.genuine, scores.impostors, 400)
        knots = np.unique(np.concatenate([knots, np.array(list(stored.values()), np.float32)]))
        measured = measure(scores.units, scores.genuine, scores.impostors, knots, draws=draws, seed=seed)
        assert measured.fnmr is not None  # genuine scores are given
        wanted = dict(stored)
        for name in types:
            wanted[f"FMR {ACCEPTED_AT:g} against {name}"] = _first_below(measured.fmr[name].value, knots)
        for words, threshold in wanted.items():
            rates: list[Rate] = [fmr_at(measured.fmr[name], threshold) for name in types]
            rates.append(fnmr_at(measured.fnmr, threshold))
            rows.append((references, f"{words}: {threshold:.4f}", *map(show, rates)))
    return rows


def _first_below(fmr: Sequence[float], knots: npt.NDArray[np.float32]) -> float:
    """The lowest knot whose FMR is at most ACCEPTED_AT; the highest lies above every score."""
    return float(knots[int(np.argmax(np.asarray(fmr) <= ACCEPTED_AT))])
