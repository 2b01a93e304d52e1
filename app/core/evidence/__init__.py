"""Evidence: what a verdict may claim. Measured error rates, their bounds, and verdicts that name them.

Serving reads a Calibration and calls choose, judge, is_outside and describe_points; against a file of references
choose_each, bound_family and conclude; over all that was served measure_drift. The offline half measures: estimate,
verify or cross_fit (rates, points, ratio), add_references, add_external, withdraw_claims, fit_together. No items are
kept and no files are read here.
"""

from app.core.evidence.applicability import fit_together, is_outside, outside
from app.core.evidence.calibration import (
    Applicability,
    Calibration,
    Counts,
    MeasuredWith,
    OperatingPoint,
    UndeterminedRate,
    Verified,
)
from app.core.evidence.choosing import Choice, Reason, Selectors, Side, choose
from app.core.evidence.crossfit import cross_fit, cross_fit_points
from app.core.evidence.curves import fmr_at, fnmr_at, highest_threshold, lowest_threshold
from app.core.evidence.describing import describe_points
from app.core.evidence.drift import ScoreDrift, measure_drift, score_edges
from app.core.evidence.estimate import (
    Estimate,
    disagree,
    disagreeing_points,
    disagreements,
    estimate,
    verify,
    verify_points,
)
from app.core.evidence.external import add_external, withdraw_claims
from app.core.evidence.family import Conclusion, bound_family, choose_each, conclude
from app.core.evidence.judging import Judgement, judge
from app.core.evidence.measuring import Measured, measure
from app.core.evidence.rates import GenuineCurve, ImpostorCurve, Rate
from app.core.evidence.references import add_references, measured_sizes, reference_points
from app.core.evidence.samples import GenuineScores, PairScores, Units

__all__ = [
    "Applicability",
    "Calibration",
    "Choice",
    "Conclusion",
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
    "ScoreDrift",
    "Selectors",
    "Side",
    "UndeterminedRate",
    "Units",
    "Verified",
    "add_external",
    "add_references",
    "bound_family",
    "choose",
    "choose_each",
    "conclude",
    "cross_fit",
    "cross_fit_points",
    "describe_points",
    "disagree",
    "disagreeing_points",
    "disagreements",
    "estimate",
    "fit_together",
    "fmr_at",
    "fnmr_at",
    "highest_threshold",
    "is_outside",
    "judge",
    "lowest_threshold",
    "measure",
    "measure_drift",
    "measured_sizes",
    "outside",
    "reference_points",
    "score_edges",
    "verify",
    "verify_points",
    "withdraw_claims",
]
