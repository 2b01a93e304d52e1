"""Is an embedding like those that were measured? A Mahalanobis distance and a conformal threshold; aggregate only.

The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004, "A well-conditioned estimator for
large-dimensional covariance matrices") and stored as its leading components and one residual variance (Tipping &
Bishop 1999, probabilistic PCA), so that the model is small and holds no item.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence.calibration import Applicability

FOLDS, MAX_COMPONENTS = 9, 32
LEVEL = 0.01
"""Share of new own items that may be refused."""
FEWEST_ITEMS = 39
"""Of which TAIL are a dozen: fewer say nothing of one in a hundred."""
TAIL = 0.3
"""Share of the items, the oddest, from which a limit is extrapolated where they are too few to count,"""
FARTHEST = 1.5
"""and how far beyond the second oddest it may be, where they follow no one law (many alike, and some otherwise)."""
_Float64 = npt.NDArray[np.float64]


def is_outside(applicability: Applicability | None, embedding: npt.NDArray[Any]) -> bool:
    """Whether an embedding (d,) lies beyond what was measured. Always False without a model, which /models says.

    Raises ValueError for an embedding of another length.
    """
    if applicability is None:
        return False
    if embedding.shape != (applicability.dimension,):
        raise ValueError(f"expected one embedding of {applicability.dimension} values, got shape {embedding.shape}")
    mean, components, variances = applicability.arrays
    # as _distances, with products of vectors and floats: a third of the time for a single one
    centred = embedding.astype(np.float64) - mean
    along = components.dot(centred)
    rest = max(float(centred.dot(centred)) - float(along.dot(along)), 0.0)
    squared = float(along.dot(along / variances)) + rest / applicability.residual_variance
    return not math.sqrt(squared) <= applicability.threshold


def outside(applicability: Applicability | None, rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The same of rows (n, d) at once: bool (n,). A row's outcome does not hang on the others.

    Raises ValueError for rows of another length.
    """
    if applicability is None:
        return np.zeros(len(rows), dtype=np.bool_)
    if rows.shape[1:] != (applicability.dimension,):
        raise ValueError(f"expected rows of {applicability.dimension} values, got shape {rows.shape}")
    # not `>`: a distance that is not a number is outside
    return ~(distances(applicability, rows) <= applicability.threshold)


def distances(applicability: Applicability, embeddings: npt.NDArray[Any]) -> _Float64:
    """Mahalanobis distances of embeddings (n, d) from the population: float64 (n,)."""
    return _distances(embeddings, *applicability.arrays, applicability.residual_variance)


def fit_together(
    kinds: Sequence[npt.NDArray[Any]], unit: npt.NDArray[np.integer], *, seed: int
) -> tuple[Applicability, ...]:
    """Fit on all items; take the conformal threshold where each is judged by a fit without its unit.

    kinds: rows (n, d) of the same n in-population items, a model each; unit (n,) their sampling units. A model's limit
    is the distance beyond which LEVEL of new items are to be, by the distances of the n items, each from a fit on the
    other folds of units; an item's excess is the largest of its distances over these limits, and the limit of the
    excesses scales them all, so that about LEVEL of new own items are refused by any. (Two models of halves of the
    units refused up to 9 % of 100 items, at 2 % each.) Raises ValueError with fewer than 2 units or FEWEST_ITEMS items.
    """
    names = np.unique(unit)
    if len(names) < 2:
        raise ValueError("the applicability model needs at least two units")
    if len(unit) < FEWEST_ITEMS:
        raise ValueError(f"the applicability model needs at least {FEWEST_ITEMS} items")

    parts = np.array_split(np.random.default_rng(seed).permutation(names), min(FOLDS, len(names)))
    beyond = np.stack([_held_out(rows.astype(np.float64), unit, parts) for rows in kinds])
    limits = np.array([_limit(every) for every in beyond])
    excess = _limit((beyond / limits[:, np.newaxis]).max(axis=0))
    models = []
    for rows, limit in zip(kinds, limits.tolist(), strict=True):
        mean, components, variances, residual = _fit(rows.astype(np.float64))
        models.append(
            Applicability(
                dimension=len(mean),
                mean=_encode(mean),
                components=_encode(components),
                variances=tuple(variances.tolist()),
                residual_variance=residual,
                threshold=excess * limit,
                level=LEVEL,
                fitted_units=len(names),
                held_out_units=len(names),
                held_out_items=len(unit),
            )
        )
    return tuple(models)


def _limit(values: _Float64) -> float:
    """What LEVEL of new values exceed, by n of their kind.

    That is the ceil((n + 1)(1 - LEVEL))-th smallest (Vovk et al. 2005; Barber et al. 2021, "Predictive inference with
    the jackknife+"). Where n is too small for it, the law of the tail is carried on, a power of the distance (Hill
    1975; Weissman 1978, "Estimation of parameters and large quantiles based on the k largest observations"). Neither
    hangs on the largest value, since one odd item among the own would let everything in.
    """
    ordered, count = np.sort(values), len(values)
    rank = math.ceil(round((count + 1) * (1.0 - LEVEL), 9))
    if rank < count:
        return float(ordered[rank - 1])
    k = round(TAIL * count)
    base, tail = ordered[-k - 1], np.minimum(ordered[-k:], ordered[-2])
    extrapolated = base * (k / ((count + 1) * LEVEL)) ** np.log(tail / base).mean()
    return float(min(extrapolated, FARTHEST * ordered[-2]))


def _held_out(rows: _Float64, unit: npt.NDArray[np.integer], parts: Sequence[npt.NDArray[Any]]) -> _Float64:
    """The distance of each item from the population without the units of its part: float64 (n,)."""
    beyond = np.empty(len(unit))
    for part in parts:
        judged = np.isin(unit, part)
        beyond[judged] = _distances(rows[judged], *_fit(rows[~judged]))
    return beyond


def _fit(rows: _Float64) -> tuple[_Float64, _Float64, _Float64, float]:
    """Mean (d,), components (r, d), their variances (r,) and the residual variance of the shrunk covariance; mean and
    components as they are stored, rounded to float32.
    """
    count, dimension = rows.shape
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = centred.T @ centred / count
    scale = float(np.trace(covariance)) / dimension
    if not scale > 0.0:
        raise ValueError("embeddings that are all equal have no spread to measure")
    # Ledoit & Wolf 2004, lemma 3.2 and section 3.3: b2 is how far single items scatter about the covariance
    spread = float(np.square(covariance).sum()) - dimension * scale**2
    lengths = np.square(centred).sum(axis=1)
    scatter = (float(np.square(lengths).mean()) - float(np.square(covariance).sum())) / count
    shrinkage = 1.0 if spread <= 0.0 else min(max(scatter, 0.0) / spread, 1.0)
    values, vectors = np.linalg.eigh((1.0 - shrinkage) * covariance + shrinkage * scale * np.eye(dimension))
    floor = 1e-6 * scale  # a direction without spread must not make every item infinitely far
    values = np.maximum(values[::-1], floor)
    kept = min(dimension, MAX_COMPONENTS)
    residual = float(values[kept:].mean()) if kept < dimension else floor
    stored = (one.astype("<f4").astype(np.float64) for one in (mean, vectors[:, ::-1][:, :kept].T))
    return next(stored), np.ascontiguousarray(next(stored)), values[:kept], residual


def _distances(
    rows: npt.NDArray[Any], mean: _Float64, components: _Float64, variances: _Float64, residual: float
) -> _Float64:
    centred = rows.astype(np.float64) - mean
    along = np.inner(centred, components)
    rest = np.maximum(np.vecdot(centred, centred) - np.vecdot(along, along), 0.0)
    return np.asarray(np.sqrt(np.vecdot(along, along / variances) + rest / residual))


def _encode(array: _Float64) -> str:
    return b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")
