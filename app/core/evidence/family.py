"""A probe against a file of references: where each is judged, what all together claim, and which one it is.

A file of R references gives an impostor R chances. The family-wise false match rate, that any of them matches, is at
most the sum of their rates (Boole's inequality), however the comparisons depend on one another; a probe whose own
reference is in the file has R - 1 chances of a false match, so that the bound holds for it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.errors import OperatingPointUnavailable
from app.core.evidence.calibration import Calibration
from app.core.evidence.choosing import Choice, Reason, Selectors, Status, choose
from app.core.evidence.judging import Judgement
from app.core.evidence.rates import round_rate
from app.core.scoring import Aggregation, Verdict

TIE = Reason("tie", None, "Two references score alike, within numerical noise, so that neither is the best.")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The verdict on a whole file; `best` is the place of the reference that matches best, None but for `match`."""

    verdict: Verdict
    best: int | None
    reasons: tuple[Reason, ...]


def choose_each(
    calibration: Calibration | None,
    status: Status,
    selectors: Selectors,
    sizes: Sequence[int],
    aggregation: Aggregation,
    *,
    guard_band_floor: float,
) -> Mapping[int, Choice]:
    """Number of items of a reference -> where such a reference is judged; `sizes` are those of the file, in order.

    `max_fmr` is shared out among all. Raises what choose raises; where that is for one number of items only, with a
    pointer to the first reference that has so many.
    """
    choices = {}
    for k in dict.fromkeys(sizes):
        try:
            choices[k] = choose(
                calibration,
                status,
                selectors,
                guard_band_floor=guard_band_floor,
                k=k,
                aggregation="single" if k == 1 else aggregation,
                references=len(sizes),
            )
        except OperatingPointUnavailable as error:
            error.pointer = error.pointer or f"/references/{sizes.index(k)}/items"
            raise
    return choices


def bound_family(choices: Mapping[int, Choice], sizes: Sequence[int], max_fmr: float | None) -> dict[str, Any]:
    """The `family` of the response: how often a probe that is of none of the references matches any, at most.

    `fmr` is None where a reference may match at a rate that nobody measured; one that is never judged adds nothing.
    `max_fmr_each` is what each comparison was held to where max_fmr was asked for.
    """
    value, high, known = 0.0, 0.0, True
    for k, count in Counter(sizes).items():
        choice = choices[k]
        if choice.threshold is None:
            continue
        rate = None if choice.operating_point is None else choice.operating_point["fmr"]
        if rate is None:
            known = False
        else:
            value, high = value + count * rate["value"], high + count * rate["high"]
    judged = any(choice.threshold is not None for choice in choices.values())
    bound = {"value": min(round_rate(value, "nearest"), 1.0), "high": min(round_rate(high, "up"), 1.0)}
    return {
        "references": len(sizes),
        "fmr": bound if known and judged else None,
        "max_fmr_each": None if max_fmr is None else max_fmr / len(sizes),
    }


def conclude(scores: Sequence[np.float32], judgements: Sequence[Judgement], guard_band: float) -> Conclusion:
    """The verdict on a file from the judgements of its references, highest score first.

    The first that is not `no_match` decides: a reference that is undetermined may be the right one, so nothing below
    it is given out as the best. Two such that score alike, nearer than the guard band, are a tie.
    """
    open_ = [place for place, judged in enumerate(judgements) if judged.verdict != "no_match"]
    if not open_:
        return Conclusion("no_match", None, judgements[0].reasons)
    first, *others = open_
    reasons = judgements[first].reasons
    if others and _alike(scores[first], scores[others[0]], guard_band):
        return Conclusion("undetermined", None, (TIE, *reasons))
    if judgements[first].verdict == "undetermined":
        return Conclusion("undetermined", None, reasons)
    return Conclusion("match", first, reasons)


def _alike(one: np.float32, other: np.float32, guard_band: float) -> bool:
    """Whether noise may turn two scores round; differences of float32 values are exact in float64."""
    return bool(one == other) or abs(float(one) - float(other)) < guard_band
