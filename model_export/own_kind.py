"""Which inputs are like those that were measured: applicability models of embeddings and of how inputs look."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.evidence import Applicability, fit_together
from model_export.measure import Embeddings

LEVELS = (0.01, 0.02, 0.05)
"""Share of own items that both models together may refuse: the least that the sample can tell."""
Models = dict[str, Applicability | None]


def fit_own_kind(rows: Embeddings, unit: npt.NDArray[np.int64], seed: int) -> Models:
    """`applicability` (of embeddings) and `input_applicability` at the strictest level that the items support.

    None where no model can be fitted; that, and a laxer level, is said aloud.
    """
    for level in LEVELS:
        try:
            models = fit_own_kind_at(level, rows, unit, seed)
        except ValueError as error:
            reason = error
        else:
            if level > LEVELS[0]:
                print(f"applicability: {level:.0%} of the own items may be refused, for want of more items")
            return models
    print(f"no applicability model, so that foreign inputs are not noticed: {reason}")
    return {"applicability": None, "input_applicability": None}


def fit_own_kind_at(level: float, rows: Embeddings, unit: npt.NDArray[np.int64], seed: int) -> Models:
    """The same at one level; numbers that are alike for all inputs tell nothing, and get no model. Raises ValueError
    for too few items or units.
    """
    assert rows.summaries is not None  # a local subject sums its items up
    kinds = {"applicability": rows.vectors, "input_applicability": rows.summaries}
    differ = {name: values for name, values in kinds.items() if np.ptp(values, axis=0).any()}
    fitted = fit_together([*differ.values()], unit, seed=seed, level=level)
    return dict.fromkeys(kinds) | dict(zip(differ, fitted, strict=True))
