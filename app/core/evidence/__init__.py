"""Evidence: what a verdict may claim. Measured error rates, their bounds, and verdicts that name them.

Serving reads a Calibration and calls choose, judge, is_outside and describe_points. The offline half measures:
estimate, verify or cross_fit (rates, points, ratio), add_external, withdraw_claims,
fit_applicability. No items are kept and no files are read here.
"""

from app.core.evidence.applicability import fit_applicability, is_outside
from app.core.evidence.calibration import (
    Applicability,
    Calibration,
    Counts,
    MeasuredWith,
    OperatingPoint,
    UndeterminedRate,
    Verified,
)
from app.core.evidence.choosing import Choice, Reason, Selectors, choose
from app.core.evidence.crossfit import cross_fit
from app.core.evidence.curves import fmr_at, fnmr_at, highest_threshold, lowest_threshold
from app.core.evidence.describing import describe_points
from app.core.evidence.estimate import Estimate, disagree, disagreements, estimate, verify
from app.core.evidence.external import add_external, withdraw_claims
from app.core.evidence.judging import Judgement, judge
from app.core.evidence.measuring import Measured, measure
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, Rate
from app.core.evidence.samples import GenuineScores, PairScores, Units

__all__ = [
    "Applicability",
    "Calibration",
    "Choice",
    "Counts",
    "Estimate",
    "GenuineCurve",
    "GenuineScores",
    "ImpostorCurve",
    "Judgement",
    "Measured",
    "MeasuredWith",
    "OperatingPoint",
    "PairScores",
    "Rate",
    "Reason",
    "Selectors",
    "UndeterminedRate",
    "Units",
    "Verified",
    "add_external",
    "choose",
    "cross_fit",
    "describe_points",
    "disagree",
    "disagreements",
    "estimate",
    "fit_applicability",
    "fmr_at",
    "fnmr_at",
    "highest_threshold",
    "is_outside",
    "judge",
    "lowest_threshold",
    "measure",
    "verify",
    "withdraw_claims",
]
