"""Figures of each part of a population by itself (an alphabet, a domain, women, people of an age): who is served worse?

A cohort's pairs are those within it: its genuine pairs, and impostors of two of its units. FMR and FNMR are those at
the bundle's own default threshold, which was chosen for all (differential performance, as ISO/IEC 19795-10 tells it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate, Units, fmr_at, fnmr_at, measure
from app.core.evidence.binning import choose_knots
from model_export.comparing import Scores
from model_export.datasets import LabelledItems
from model_export.figures import FEWEST_UNITS, draw_samples, headline_of

KNOTS = 200
GROUP = "group"


@dataclass(frozen=True)
class Cohort:
    """One cohort: its kind (group, sex, ...), its value, its units; the figures are None where units are too few."""

    kind: str
    value: str
    units: int
    auc: Rate | None = None
    eer: Rate | None = None
    fmr: Rate | None = None
    fnmr: Rate | None = None


def measure_cohorts(
    scores: Scores, items: LabelledItems, threshold: float | None, *, draws: int, seed: int
) -> list[Cohort]:
    """The cohorts of every kind that the items tell apart; `scores` are of these items, with `unit_ids`.

    threshold: the default operating point's; without one there is no FMR and FNMR. Raises ValueError where the items of
    a unit are of two cohorts of one kind.
    """
    assert scores.unit_ids is not None  # a reader numbered the units
    return [
        _measure(kind, value, scores, members, threshold=threshold, draws=draws, seed=seed)
        for kind, of_unit in _kinds(items, scores.unit_ids).items()
        for value, members in _values(of_unit)
    ]


def _kinds(items: LabelledItems, unit_ids: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.str_]]:
    """Kind -> the value of each unit (units,), where there are two values at least."""
    names = np.array(items.group_names)
    by_item = {GROUP: names[items.group], **items.cohorts}
    kinds = {}
    place = np.searchsorted(unit_ids, items.unit)
    known = np.isin(items.unit, unit_ids)
    for kind, values in by_item.items():
        of_unit = np.full(len(unit_ids), "", values.dtype)
        of_unit[place[known]] = values[known]
        if (of_unit[place[known]] != values[known]).any():
            if kind == GROUP:
                continue  # groups may cut through units; hard impostors are refused then, and so is a table by group
            raise ValueError(f"cohort {kind!r}: the items of a unit are of two cohorts")
        if len(np.unique(of_unit)) > 1:
            kinds[kind] = of_unit
    return kinds


def _values(of_unit: npt.NDArray[np.str_]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    for value in np.unique(of_unit).tolist():
        yield value, of_unit == value


def _measure(
    kind: str,
    value: str,
    scores: Scores,
    members: npt.NDArray[np.bool_],
    *,
    threshold: float | None,
    draws: int,
    seed: int,
) -> Cohort:
    own = _within(scores, members)
    count = int(members.sum())
    if own is None or len(np.unique(own.genuine.unit)) < FEWEST_UNITS:
        return Cohort(kind, value, count)
    cohort = Cohort(kind, value, count, *headline_of(draw_samples(own, draws=draws, seed=seed), "random"))
    if threshold is None:
        return cohort
    knots = np.union1d(choose_knots(own.genuine, own.impostors, KNOTS), np.float32(threshold))
    measured = measure(own.units, own.genuine, own.impostors, knots, draws=draws, seed=seed)
    assert measured.fnmr is not None  # genuine scores are given
    return replace(cohort, fmr=fmr_at(measured.fmr["random"], threshold), fnmr=fnmr_at(measured.fnmr, threshold))


def _within(scores: Scores, members: npt.NDArray[np.bool_]) -> Scores | None:
    """The comparisons within a cohort, its units numbered anew; None where a kind of pairs is missing."""
    number = np.cumsum(members) - 1
    genuine, impostor = scores.genuine, scores.impostors["random"]
    other = genuine.unit if genuine.other is None else genuine.other
    mine = members[genuine.unit] & members[other]
    theirs = members[impostor.unit_a] & members[impostor.unit_b]
    if members.sum() < FEWEST_UNITS or not mine.any() or not theirs.any():
        return None
    return Scores(
        Units(int(members.sum())),
        replace(
            genuine,
            score=genuine.score[mine],
            unit=number[genuine.unit[mine]],
            other=None if genuine.other is None else number[other[mine]],
        ),
        {
            "random": replace(
                impostor,
                score=impostor.score[theirs],
                unit_a=number[impostor.unit_a[theirs]],
                unit_b=number[impostor.unit_b[theirs]],
            )
        },
    )
