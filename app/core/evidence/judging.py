"""From evidence to a verdict: judge one score at the operating point of its request. No HTTP; never raises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from app.core.evidence.calibration import Ratio
from app.core.evidence.choosing import Choice, Reason, Side
from app.core.evidence.curves import show_fmr_at
from app.core.scoring import Verdict, decide, log_likelihood_ratio, posterior

OUTSIDE_DETAIL = "This item is unlike those that were measured, so no error rate applies; check its kind."
IDENTICAL = Reason("identical_items", None, "Two of the items are the same bytes, a case that the rates do not cover.")
BETWEEN = Reason("between_thresholds", None, "The score lies where neither max_fmr nor max_fnmr allows a verdict.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what stands behind it; the members are those of the response of /compare."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    log_likelihood_ratio: float | None
    fmr_at_score: Mapping[str, float] | None
    operating_point: Mapping[str, Any] | None
    posterior: Mapping[str, float] | None


def judge(
    choice: Choice, score: np.float32, *, prior: float | None, outside: Sequence[Side], identical: bool, today: date
) -> Judgement:
    """The verdict of one score at a choice.

    outside: the sides whose embeddings is_outside refused; identical: whether two of the items are the same bytes;
    prior: the caller's probability of a match, 0..1, checked at the edge. All reasons that apply are reported.
    """
    reasons = [Reason("outside_calibration", side, OUTSIDE_DETAIL) for side in outside]
    verdict: Verdict = "undetermined"
    if choice.threshold is not None:
        verdict, code = decide(score, choice.threshold, choice.threshold_low, choice.guard_band)
        if code == "between_thresholds":
            reasons.append(BETWEEN)
        elif code is not None:
            detail = f"The score is nearer than {choice.guard_band:g} to a threshold, within numerical noise."
            reasons.append(Reason(code, None, detail))
        if outside:
            verdict = "undetermined"
    reasons.extend(choice.reasons)
    if identical:
        reasons.append(IDENTICAL)
    calibration = choice.calibration
    if calibration is not None and calibration.is_stale(today):
        detail = f"The rates were measured on {calibration.date}, for {calibration.valid_for_days} days; measure again."
        reasons.append(Reason("calibration_stale", None, detail))
    return Judgement(
        verdict=verdict,
        reasons=tuple(reasons),
        log_likelihood_ratio=None if choice.ratio is None else _ratio(choice.ratio, score),
        fmr_at_score=None if choice.fmr_curve is None else show_fmr_at(choice.fmr_curve, float(score)),
        operating_point=choice.operating_point,
        posterior=None if choice.ratio is None or prior is None else _posterior(choice.ratio, score, prior),
    )


def _ratio(ratio: Ratio, score: np.float32) -> float:
    return log_likelihood_ratio(float(score), ratio.slope, ratio.intercept, ratio.low, ratio.high)


def _posterior(ratio: Ratio, score: np.float32, prior: float) -> dict[str, float]:
    """The posterior, and the 2.5 and 97.5 % quantiles of those of the stored draws, widened to hold the value."""
    value = posterior(prior, _ratio(ratio, score))
    at = float(score)
    # clipping and posterior both rise with the ratio, so that only the two quantiles need them
    draws = sorted(slope * at + intercept for slope, intercept in ratio.bootstrap)
    last = len(draws) - 1
    low, high = (
        posterior(prior, min(max(draws[index], ratio.low), ratio.high))
        for index in (math.floor(0.025 * last), math.ceil(0.975 * last))
    )
    return {"value": value, "low": min(value, low), "high": max(value, high)}
