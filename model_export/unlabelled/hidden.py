"""How many random pairs match after all, guessed from scores alone: those that stand out from the rest.

Scores of strangers are taken to go on as they begin: their quantiles between the deviates -1 and 2, where 82 % of all
pairs lie and hardly a match, follow a cubic in the normal deviate, which is carried on upwards. What lies higher than
that is no stranger. An encoder that tells well shows nearly all its matches so; of a weak one most stay hidden among
the strangers, so that the guess is a lower one.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from app.core.scoring import Float32

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
