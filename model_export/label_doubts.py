"""Labels of a pair table that scores speak against: hints for who labelled, no proof, as two things may look alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_export.pairs import MeasuredPairs

NAMED = 5
Places = npt.NDArray[np.int64]


def tell_doubts(measured: MeasuredPairs) -> None:
    """Print pairs labelled 0 that score above half of those labelled 1, and the other way round, by row, worst first.

    A wrong label, one identity under two names and a pair that is hard look alike here.
    """
    score, label = measured.score, measured.label
    match, other = float(np.median(score[label])), float(np.median(score[~label]))
    if match <= other:
        print(
            "doubt: pairs labelled 1 score no higher than those labelled 0: swapped labels, labels of other items, or "
            "identities under two names"
        )
        return
    alike = np.flatnonzero(~label & (score >= match))
    apart = np.flatnonzero(label & (score <= other))
    if len(alike):
        rows = _rows(measured, alike[np.argsort(-score[alike], kind="stable")])
        print(
            f"doubt: {len(alike)} of {(~label).sum()} pairs labelled 0 score above half of those labelled 1, {rows}: "
            "wrong labels, one identity under two names, or pairs that look alike"
        )
    if len(apart):
        rows = _rows(measured, apart[np.argsort(score[apart], kind="stable")])
        print(
            f"doubt: {len(apart)} of {label.sum()} pairs labelled 1 score below half of those labelled 0, {rows}: "
            "wrong labels, or pairs that are hard to tell"
        )


def _rows(measured: MeasuredPairs, places: Places) -> str:
    named = ", ".join(map(str, measured.row[places[:NAMED]].tolist()))
    return f"rows {named}" + (", ..." if len(places) > NAMED else "")
