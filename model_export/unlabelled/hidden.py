"""Random pairs that match after all: how many, guessed from scores alone, and what they may do to the bound of FMR.

They stand out from the rest. Scores of strangers are taken to go on as they begin: their quantiles between the deviates
-1 and 2, where 82 % of all pairs lie and hardly a match, follow a cubic in the normal deviate, which is carried on
upwards. What lies higher than that is no stranger. An encoder that tells well shows nearly all its matches so; of a
weak one most stay hidden among the strangers, so that the guess is a lower one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from app.core.evidence.points import default_name, name_points
from app.core.evidence.rates import round_rate
from app.core.scoring import Float32
from model_export.unlabelled.alike import RandomPairs

BODY = (-1.0, 2.0)
TOP = 0.05
"""The share of highest scores among which something may stand out."""


def count_standing_out(score: Float32) -> float:
    """Pairs beyond what strangers would give, of scores (pairs,) in descending order."""
    pairs = len(score)
    deviate = np.linspace(*BODY, 60)
    quantiles = np.interp(norm.sf(deviate) * pairs, np.arange(pairs) + 0.5, score)
    onwards = np.linspace(BODY[0], 7.0, 800)
    expected = np.maximum.accumulate(np.polyval(np.polyfit(deviate, quantiles, 3), onwards))
    expected = expected + 1e-9 * np.arange(len(expected))  # where the cubic turns down it stays level
    top = score[: max(1, round(TOP * pairs))].astype(np.float64)
    strangers = norm.sf(np.interp(top, expected, onwards, left=BODY[0], right=7.0)) * pairs
    return float(max((np.arange(1, len(top) + 1) - strangers).max(), 0.0))


def claim_random(random: RandomPairs, items: int) -> dict[str, Any]:
    """The members of Calibration that rest on random pairs of so many items, whatever share of them matches.

    Where a share m of all pairs match and score above a threshold, FMR is the less by m; but each thing has about
    1 + m (n - 1) of the n items, so that the error c that the bootstrap of items found is the greater by the root of
    that (the design effect; Kish 1965, "Survey sampling", 5.4). Of all m, the bound takes that for which
    r - m + c sqrt(1 + m (n - 1)) is highest: the root is then c (n - 1) / 2. It is never below that of items drawn
    together, which knows of things that look like one another, too.
    """
    value, high = np.array(random.curve.value), np.array(random.curve.high)
    error, others = high - value, items - 1
    worst = np.clip(((error * others / 2.0) ** 2 - 1.0) / others, 0.0, value)
    wider = np.clip(value - worst + error * np.sqrt(1.0 + worst * others), high, 1.0)
    highs = np.minimum.accumulate(np.maximum(wider, random.together.high))
    lows = np.minimum(random.curve.low, random.together.low)
    curve = random.curve.model_copy(
        update={
            "low": tuple(round_rate(one, "down") for one in lows.tolist()),
            "high": tuple(round_rate(one, "up") for one in highs.tolist()),
        }
    )
    points = name_points(curve, None)
    name = default_name(points)
    defaults = {} if name is None else {curve.impostor: name}
    return {"impostor_curves": (curve,), "operating_points": points, "defaults": defaults}
