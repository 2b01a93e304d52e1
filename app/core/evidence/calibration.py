"""What calibration.json holds: the pydantic models of measured evidence, and nothing that computes it.

Never an item, an embedding of an item, or a score of a single pair. Thresholds are float32 values; rates are rounded
to six significant digits, `low` downwards and `high` upwards. Any change here raises the bundle's format_version.
"""

from __future__ import annotations

import datetime
from base64 import b64decode
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from app.core.evidence.rates import Count, Finite, Frozen, GenuineCurve, ImpostorCurve, Probability, Rate
from app.core.scoring import Aggregation


class ImpostorType(Frozen):
    """One kind of impostor. An external one was measured on another population, which is then named."""

    type: str = Field(min_length=1)
    description: str
    external: bool = False
    population: str | None = None
    unit_pairs: int = Field(ge=1, description="P: distinct unordered pairs of different units compared as this type")

    @model_validator(mode="after")
    def _external_is_named(self) -> Self:
        if self.external != (self.population is not None):
            raise ValueError("population is given for an external impostor type, and only for one")
        return self


class Verified(Frozen):
    """Rates on units that had no part in choosing the threshold that judged them.

    held_out: other units, at the threshold that ships; cross_fitted: the same pool, each comparison at the threshold
    that the same rule chooses without its units (crossfit.py).
    """

    method: Literal["held_out", "cross_fitted"]
    population: str
    fmr: Rate
    fnmr: Rate
    units: int = Field(ge=2)
    unit_pairs: int = Field(ge=1)
    genuine_units: int = Field(ge=1)


class OperatingPoint(Frozen):
    """A named threshold of one impostor type, with the rates measured there."""

    name: str = Field(pattern=r"^(fmr_1e-[1-9]|eer)$")
    impostor: str
    threshold: Finite
    fmr: Rate
    fnmr: Rate | None
    verified: Verified | None = None


class Ratio(Frozen):
    """Natural-log likelihood ratio = clip(slope * score + intercept, low, high) against one impostor type."""

    impostor: str
    k: int = Field(ge=1)
    aggregation: Aggregation
    slope: float = Field(gt=0.0, allow_inf_nan=False)
    intercept: Finite
    low: float = Field(le=0.0, allow_inf_nan=False)
    high: float = Field(ge=0.0, allow_inf_nan=False)
    bootstrap: tuple[tuple[Finite, Finite], ...] = Field(min_length=1, description="(slope, intercept) of each draw")
    cllr: float = Field(ge=0.0, allow_inf_nan=False, description="bits")
    min_cllr: float = Field(ge=0.0, allow_inf_nan=False, description="bits, after the best monotone map")


class Applicability(Frozen):
    """Mean and shrunk covariance of in-population vectors: U diag(variances) U' + residual (I - U U').

    `mean` (d,) and `components` (r, d) row-wise are base64 of little-endian float32. An embedding farther than
    `threshold` (Mahalanobis distance) is outside; `level` is the share of own items beyond it, each held out in turn.
    """

    dimension: int = Field(ge=1)
    mean: str
    components: str
    variances: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...]
    residual_variance: float = Field(gt=0.0, allow_inf_nan=False)
    threshold: float = Field(gt=0.0, allow_inf_nan=False)
    level: float = Field(gt=0.0, lt=1.0)
    fitted_units: int = Field(ge=1)
    held_out_units: int = Field(ge=1)
    held_out_items: int = Field(ge=1)

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        mean, components, _ = self.arrays
        if not (np.isfinite(mean).all() and np.isfinite(components).all()):
            raise ValueError("the applicability model holds values that are not finite")
        return self

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """mean (d,), components (r, d) and their variances (r,), decoded once."""
        mean, components = (
            np.frombuffer(b64decode(text, validate=True), dtype="<f4").astype(np.float64)
            for text in (self.mean, self.components)
        )
        shape = (len(self.variances), self.dimension)
        if mean.size != self.dimension or components.size != shape[0] * shape[1]:
            raise ValueError("the applicability model's arrays do not have the sizes it states")
        return mean, components.reshape(shape), np.array(self.variances)


class Counts(Frozen):
    """What was measured. Impostor unit pairs are counted by type in `impostors`."""

    units: int = Field(ge=2)
    genuine_units: Count
    groups: int | None = Field(default=None, ge=1)
    items: int = Field(ge=2)
    genuine_pairs: Count = Field(description="item pairs")
    impostor_pairs: Mapping[str, Count] = Field(description="item pairs by type")


class MeasuredWith(Frozen):
    """The engine that produced the embeddings."""

    provider: str
    onnxruntime: str
    tf32: bool


class UndeterminedRate(Frozen):
    """Shares of comparisons within the guard band of the default operating point."""

    genuine: Probability
    impostor: Probability


class ScoreHistogram(Frozen):
    """Shares of unit-weighted scores in bins; `edges` has one more entry than each row of shares."""

    edges: tuple[Finite, ...] = Field(min_length=2)
    genuine: tuple[Probability, ...]
    impostor: Mapping[str, tuple[Probability, ...]]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(len(row) != len(self.edges) - 1 for row in (self.genuine, *self.impostor.values())):
            raise ValueError("a histogram needs one share for each bin")
        return self


class Bootstrap(Frozen):
    """How the bounds were found; see bounds.py."""

    draws: int = Field(ge=1000)
    seed: int
    groups_first: bool


class Calibration(Frozen):
    """The evidence of one bundle: calibration.json as a whole."""

    id: str = Field(min_length=1)
    population: str
    unit: str
    source: Literal["shipped", "yours"]
    date: datetime.date
    valid_for_days: int = Field(ge=1)
    measured_with: MeasuredWith
    counts: Counts
    bootstrap: Bootstrap
    guard_band: float = Field(ge=0.0, allow_inf_nan=False)
    impostors: tuple[ImpostorType, ...] = Field(min_length=1)
    default_impostor: str
    impostor_curves: tuple[ImpostorCurve, ...] = Field(min_length=1)
    genuine_curves: tuple[GenuineCurve, ...]
    operating_points: tuple[OperatingPoint, ...]
    defaults: Mapping[str, str] = Field(description="impostor type -> name of its default operating point")
    ratios: tuple[Ratio, ...]
    failure_to_acquire: Mapping[str, Probability] = Field(description="share of items refused, by reason")
    undetermined_rate: UndeterminedRate | None
    histogram: ScoreHistogram
    applicability: Applicability | None = Field(description="of embeddings")
    input_applicability: Applicability | None = Field(description="of prepared inputs, as their modality sums them up")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        types = {one.type: one for one in self.impostors}
        if len(types) != len(self.impostors):
            raise ValueError("impostor types must differ")
        default = types.get(self.default_impostor)
        if default is None or default.external:
            raise ValueError("default_impostor must be a type measured on this population")
        curves = {(c.impostor, c.k, c.aggregation) for c in self.impostor_curves}
        if len(curves) != len(self.impostor_curves) or {c.impostor for c in self.impostor_curves} != set(types):
            raise ValueError("impostor_curves must hold each impostor type, each key once")
        if any((name, 1, "single") not in curves for name in types):
            raise ValueError("every impostor type needs its curve for k = 1, aggregation single")
        keys = [(c.k, c.aggregation) for c in self.genuine_curves]
        if len(set(keys)) != len(keys) or (keys and (1, "single") not in keys):
            raise ValueError("genuine_curves must be one for each key, with k = 1, aggregation single")
        points = {(p.impostor, p.name) for p in self.operating_points}
        if len(points) != len(self.operating_points) or any(
            p.impostor not in types or types[p.impostor].external for p in self.operating_points
        ):
            raise ValueError("operating points must differ, and each belong to a type measured on this population")
        if any((impostor, name) not in points or name == "eer" for impostor, name in self.defaults.items()):
            raise ValueError("defaults must name operating points that exist, never eer")
        if any(r.impostor not in types for r in self.ratios):
            raise ValueError("a ratio belongs to an impostor type that exists")
        return self

    @property
    def supported(self) -> bool:
        """Whether FMR 1e-1 can be claimed for the default impostor type; if not, the bundle is a demonstration."""
        return self.default_impostor in self.defaults

    def impostor(self, name: str) -> ImpostorType:
        """The impostor type of this name. Raises KeyError."""
        for one in self.impostors:
            if one.type == name:
                return one
        raise KeyError(name)

    def fmr_curve(self, impostor: str, k: int = 1, aggregation: Aggregation = "single") -> ImpostorCurve | None:
        """The FMR curve of this key, or None."""
        for curve in self.impostor_curves:
            if (curve.impostor, curve.k, curve.aggregation) == (impostor, k, aggregation):
                return curve
        return None

    def fnmr_curve(self, k: int = 1, aggregation: Aggregation = "single") -> GenuineCurve | None:
        """The FNMR curve of this key, or None."""
        for curve in self.genuine_curves:
            if (curve.k, curve.aggregation) == (k, aggregation):
                return curve
        return None

    def ratio(self, impostor: str, k: int = 1, aggregation: Aggregation = "single") -> Ratio | None:
        """The ratio of this key, or None."""
        for one in self.ratios:
            if (one.impostor, one.k, one.aggregation) == (impostor, k, aggregation):
                return one
        return None

    def is_stale(self, today: datetime.date) -> bool:
        """Whether the days for which the evidence was declared valid are over."""
        return (today - self.date).days > self.valid_for_days
