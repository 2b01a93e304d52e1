"""Rates and curves as calibration.json stores them; calibration.py has the rest of it, curves.py reads them."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.core.scoring import Aggregation

Probability = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Frozen(BaseModel):
    """A value of calibration.json: it never changes, and a field it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Rate(Frozen):
    """A measured share with its 95 % bounds; low <= value <= high."""

    value: Probability
    low: Probability
    high: Probability

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError("a rate needs low <= value <= high")
        return self


class Curve(Frozen):
    """A rate at ascending knots. Between knots see curves.fmr_at and curves.fnmr_at."""

    k: int = Field(ge=1, description="references of one identity that a probe is compared with")
    aggregation: Aggregation
    thresholds: tuple[Finite, ...] = Field(min_length=1)
    value: tuple[Probability, ...]
    low: tuple[Probability, ...]
    high: tuple[Probability, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.thresholds) == len(self.value) == len(self.low) == len(self.high):
            raise ValueError("a curve needs as many rates as thresholds")
        if any(b <= a for a, b in pairwise(self.thresholds)):
            raise ValueError("the thresholds of a curve must ascend")
        if any(float(np.float32(t)) != t for t in self.thresholds):
            raise ValueError("the thresholds of a curve must be float32 values")
        if not all(low <= v <= high for low, v, high in zip(self.low, self.value, self.high, strict=True)):
            raise ValueError("a curve needs low <= value <= high at every knot")
        sign = -1 if isinstance(self, ImpostorCurve) else 1
        for rates in (self.value, self.low, self.high):
            if any(sign * (b - a) < 0 for a, b in pairwise(rates)):
                raise ValueError("FMR never rises and FNMR never falls along a curve")
        return self


class ImpostorCurve(Curve):
    """FMR of one impostor type: the share of impostor comparisons with score >= threshold."""

    impostor: str


class GenuineCurve(Curve):
    """FNMR: the share of genuine comparisons with score < threshold."""

    units: int = Field(ge=1, description="units with a genuine pair")


def float32(value: float) -> float:
    """The value as float32, as a Python float. Raises ValueError where that is not finite."""
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    if not math.isfinite(rounded):
        raise ValueError("not a finite float32")
    return rounded


def round_rate(rate: float, towards: Literal["nearest", "down", "up"]) -> float:
    """Six significant digits; what has no more digits stays as it is, so that 3/300 is exactly 0.01."""
    rounding = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}[towards]
    # repr gives the shortest decimal of the float, so that a rate such as 0.01 is not rounded up to 0.0100001
    return float(Context(prec=6, rounding=rounding).create_decimal(Decimal(repr(float(rate)))))
