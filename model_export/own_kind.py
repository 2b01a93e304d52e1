"""Which inputs are like those that were measured: applicability models of embeddings and of how inputs look."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.evidence import Applicability, fit_together
from model_export.measure import Embeddings

Models = dict[str, Applicability | None]


def fit_own_kind(rows: Embeddings, unit: npt.NDArray[np.int64], seed: int) -> Models:
    """`applicability` (of embeddings) and `input_applicability`, which together refuse about 1 % of own items.

    Numbers that are alike for all inputs tell nothing, and get no model: None. Raises ValueError for too few items or
    units.
    """
    assert rows.summaries is not None  # a local subject sums its items up
    kinds = {"applicability": rows.vectors, "input_applicability": rows.summaries}
    differ = {name: values for name, values in kinds.items() if np.ptp(values, axis=0).any()}
    fitted = fit_together([*differ.values()], unit, seed=seed)
    return dict.fromkeys(kinds) | dict(zip(differ, fitted, strict=True))


def fit_where_possible(rows: Embeddings, unit: npt.NDArray[np.int64], seed: int) -> Models:
    """The same; neither where they cannot be fitted, which is said aloud."""
    try:
        return fit_own_kind(rows, unit, seed)
    except ValueError as error:
        print(f"no applicability model, so that foreign inputs are not noticed: {error}")
        return {"applicability": None, "input_applicability": None}
