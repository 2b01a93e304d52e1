"""Whitening: directions in which embeddings spread much without telling identities apart count less.

`within`: the covariance of items around their own identity's mean (Hatch, Kajarekar & Stolcke 2006, "Within-class
covariance normalization for SVM-based speaker recognition"); `all`: of all items around the mean, which needs no label.
The covariance C of few items is not to be trusted in all d directions, so that it is shrunk towards a multiple of the
identity (Ledoit & Wolf 2004): (1 - s) C + s tr(C) / d I, for several s, of which validation chooses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from app.core.scoring import Float32
from model_export.adapting.heads import Float64, Head

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
"""Of no shrinkage at all the smallest directions, which few items hardly show, would count most."""


def whitenings(rows: Float32, identity: npt.NDArray[np.int64], *, normalise: bool) -> Iterator[Head]:
    """Every whitening that is tried, from training embeddings float32 (n, d) and their identities int64 (n,)."""
    mean = rows.mean(axis=0, dtype=np.float64)
    around_all = rows - mean
    spreads = {"the spread within identities": _around_own(rows, identity), "the spread of all items": around_all}
    total = around_all.T @ around_all / len(rows)
    for words, deviations in spreads.items():
        covariance = deviations.T @ deviations / max(len(deviations), 1)
        level = float(np.trace(covariance)) / len(covariance)
        if level <= 0:  # nothing differs, so that nothing is to be evened out
            continue
        values, directions = np.linalg.eigh(covariance)
        for shrinkage in SHRINKAGES:
            shrunk = (1 - shrinkage) * np.maximum(values, 0.0) + shrinkage * level
            matrix = directions / np.sqrt(shrunk) @ directions.T
            said = f"whitening of {words}, shrunk by {shrinkage}"
            yield Head("whitening", said, mean.astype(np.float32), _keep_scale(matrix, total), normalise)


def _around_own(rows: Float32, identity: npt.NDArray[np.int64]) -> Float64:
    """Deviations from the mean of the own identity, float64 (m, d), of identities with two items or more."""
    number, counts = np.unique(identity, return_inverse=True, return_counts=True)[1:]
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, number, rows)
    means = sums / counts[:, np.newaxis]
    several = counts[number] > 1
    deviations: Float64 = rows[several] - means[number[several]]
    return deviations


def _keep_scale(matrix: Float64, total: Float64) -> Float32:
    """The matrix scaled so that embeddings of covariance `total` stay as long on average, float32 (d, d)."""
    after = float(np.trace(matrix.T @ total @ matrix))
    return np.asarray(matrix * np.sqrt(np.trace(total) / after), np.float32)
