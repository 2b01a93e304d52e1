"""Is an embedding like those that were measured? A Mahalanobis distance and a conformal threshold; aggregate only.

The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004, "A well-conditioned estimator for
large-dimensional covariance matrices") and stored as its leading components and one residual variance (Tipping &
Bishop 1999, probabilistic PCA), so that the model is small and holds no item.
"""

from __future__ import annotations

import math
from base64 import b64encode
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.evidence.calibration import Applicability

_Float64 = npt.NDArray[np.float64]


def is_outside(applicability: Applicability | None, embedding: npt.NDArray[Any]) -> bool:
    """Whether an embedding (d,) lies beyond what was measured. Always False without a model, which /models says.

    Raises ValueError for an embedding of another length.
    """
    if applicability is None:
        return False
    if embedding.shape != (applicability.dimension,):
        raise ValueError(f"expected an embedding of {applicability.dimension} values, got shape {embedding.shape}")
    # not `>`: a distance that is not a number is outside
    return not bool(distances(applicability, embedding[np.newaxis])[0] <= applicability.threshold)


def distances(applicability: Applicability, embeddings: npt.NDArray[Any]) -> _Float64:
    """Mahalanobis distances of embeddings (n, d) from the population: float64 (n,)."""
    mean, components = applicability.arrays
    return _distances(embeddings, mean, components, np.array(applicability.variances), applicability.residual_variance)


def fit_applicability(
    embeddings: npt.NDArray[Any],
    unit: npt.NDArray[np.integer],
    *,
    seed: int,
    level: float = 0.01,
    max_components: int = 32,
    fit_share: float = 0.5,
) -> Applicability:
    """Fit on some of the units, take the conformal threshold on the others, so that it holds for new items.

    embeddings (n, d) of in-population items, unit (n,) their sampling units. The threshold is the
    ceil((m + 1)(1 - level))-th smallest distance of the m held-out items (Vovk et al. 2005; Lei et al. 2018), so that
    about `level` of new in-population items are refused. Use all d components where d <= max_components.
    Raises ValueError with fewer than 2 units on either side, fewer than 20 units to fit on where there are as many
    components, or too few held-out items for the level (99 for 1 %).
    """
    names = np.unique(unit)
    order = np.random.default_rng(seed).permutation(len(names))
    fitted = np.isin(unit, names[order[: math.ceil(fit_share * len(names))]])
    fit_units, held_units = len(np.unique(unit[fitted])), len(np.unique(unit[~fitted]))
    if fit_units < 2 or held_units < 2:
        raise ValueError("the applicability model needs at least two units to fit on and two held out")
    held_items = int((~fitted).sum())
    rank = math.ceil((held_items + 1) * (1.0 - level))
    if rank > held_items:
        raise ValueError(
            f"an applicability level of {level:g} needs at least {math.ceil(1 / level) - 1} held-out items"
        )

    mean, components, variances, residual = _fit(embeddings[fitted].astype(np.float64), max_components)
    # what is stored is what is measured: round first
    mean, components = (x.astype("<f4").astype(np.float64) for x in (mean, components))
    beyond = np.sort(_distances(embeddings[~fitted], mean, components, variances, residual))
    return Applicability(
        dimension=len(mean),
        mean=_encode(mean),
        components=_encode(components),
        variances=tuple(variances.tolist()),
        residual_variance=residual,
        threshold=float(beyond[rank - 1]),
        level=level,
        fitted_units=fit_units,
        held_out_units=held_units,
        held_out_items=held_items,
    )


def _fit(rows: _Float64, max_components: int) -> tuple[_Float64, _Float64, _Float64, float]:
    """Mean (d,), components (r, d), their variances (r,) and the residual variance of the shrunk covariance."""
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
    kept = dimension if dimension <= max_components else max_components
    residual = float(values[kept:].mean()) if kept < dimension else floor
    return mean, np.ascontiguousarray(vectors[:, ::-1][:, :kept].T), values[:kept], residual


def _distances(
    rows: npt.NDArray[Any], mean: _Float64, components: _Float64, variances: _Float64, residual: float
) -> _Float64:
    centred = rows.astype(np.float64) - mean
    along = centred @ components.T
    rest = np.maximum(np.square(centred).sum(axis=1) - np.square(along).sum(axis=1), 0.0)
    squared = (np.square(along) / variances).sum(axis=1) + rest / residual
    return np.asarray(np.sqrt(squared))


def _encode(array: _Float64) -> str:
    return b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")
