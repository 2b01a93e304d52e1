"""What labelled pairs show of the claims made at operating points, and whether the claims hold there.

A claim is a rate with bounds, measured on one sample; the pairs are another, with bounds from a bootstrap by unit. Both
err, so that two samples are compared: the claim is refuted where the rate is **higher** here than it was there by more
than the errors of both explain. The lower bound of the difference of two rates, from the bounds of each, is

    here - claimed - sqrt((here - here.low)^2 + (claimed.high - claimed)^2)

(Zou & Donner 2008, "Construction of confidence limits about effect measures"): it needs no symmetry, and no error need
be seen. With bounds of 95 % it is above 0 with a chance of 2.5 % where the rates are equal; `p_higher` is the level at
which it would be just 0, the two errors being scaled as a normal figure's. All rates of all points are one family,
since a single one that is refuted is an alarm: p is held against 5 % by Holm's steps (Holm 1979).

A claim that is not refuted **holds** where the rate here is within its bounds or below, and the pairs rule out that it
is far off: where their own upper bound is at most twice the claim's, in odds. Otherwise they are too few to say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm

from app.core.evidence import Rate, fmr_at, fnmr_at, measure
from app.core.evidence.binning import choose_knots
from model_export.comparing import Scores
from model_export.figures import KNOTS
from model_export.pairs import LABELLED

LEVEL = 0.05
FAR_OFF = 2.0
BOUND = float(norm.ppf(0.975))
Outcome = Literal["holds", "higher", "too few to say"]
Points = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shown:
    """What a sample shows at the threshold of a point: FMR by the impostor type that was measured, and FNMR."""

    fmr: Mapping[str, Rate]
    fnmr: Rate


@dataclass(frozen=True)
class Tested:
    """A claimed rate beside the one shown; p is Holm's, at most 1."""

    claimed: Rate
    shown: Rate
    p: float
    outcome: Outcome


@dataclass(frozen=True)
class Held:
    """A point, and what became of its claims: `against` is the impostor type measured, None where there is none to
    measure its FMR with; `fmr` is then None, and `fnmr` where none is claimed.
    """

    point: Mapping[str, Any]
    against: str | None
    shown: Shown
    fmr: Tested | None
    fnmr: Tested | None

    @property
    def tested(self) -> list[Tested]:
        """Those of the two rates that could be tested."""
        return [one for one in (self.fmr, self.fnmr) if one is not None]

    @property
    def outcome(self) -> Outcome:
        """Of the point as a whole: without its FMR nothing can be said, unless FNMR is refuted."""
        outcomes = [one.outcome for one in self.tested]
        if "higher" in outcomes:
            return "higher"
        return "holds" if self.fmr is not None and set(outcomes) == {"holds"} else "too few to say"


def show_at(points: Points, scores: Scores, *, draws: int, seed: int) -> list[Shown]:
    """What scores show at the threshold of each point; points as describe_points and /models give them."""
    thresholds = np.array([point["threshold"] for point in points], np.float32)
    knots = np.unique(np.concatenate([choose_knots(scores.genuine, scores.impostors, KNOTS), thresholds]))
    measured = measure(scores.units, scores.genuine, scores.impostors, knots, draws=draws, seed=seed)
    fnmr = measured.fnmr
    assert fnmr is not None  # genuine scores are given
    # as a float32 again: /models prints the shortest decimal, which may lie just below the knot
    return [
        Shown({name: fmr_at(curve, at) for name, curve in measured.fmr.items()}, fnmr_at(fnmr, at))
        for at in thresholds.tolist()
    ]


def hold_claims(points: Points, scores: Scores, *, draws: int, seed: int) -> list[Held]:
    """Test every claimed rate of every point whose impostor type was measured.

    Pairs of no declared type (LABELLED, where no point has that type) stand for the type of the default point, which
    a verdict is given against when its caller says nothing else either.
    """
    types = {point["impostor"] for point in points}
    default = next((point["impostor"] for point in points if point["default"]), None)
    stands_for = {name: name for name in scores.impostors}
    if default is not None and LABELLED in stands_for and LABELLED not in types and default not in stands_for:
        stands_for[default] = LABELLED
    shown = show_at(points, scores, draws=draws, seed=seed)
    pairs: list[tuple[Rate, Rate] | None] = []
    for point, here in zip(points, shown, strict=True):
        against = stands_for.get(point["impostor"])
        pairs.append(None if against is None else (Rate(**point["fmr"]), here.fmr[against]))
        pairs.append(None if point["fnmr"] is None else (Rate(**point["fnmr"]), here.fnmr))
    tested = iter(_test(pairs))
    return [
        Held(point, stands_for.get(point["impostor"]), here, next(tested), next(tested))
        for point, here in zip(points, shown, strict=True)
    ]


def sum_up(held: Sequence[Held], deciding: Mapping[str, Any]) -> tuple[Outcome, str]:
    """The outcome as a whole, and one line that says it: `higher` where any claim is refuted, else that of a point."""
    refuted = [f"{one.point['impostor']}:{one.point['name']}" for one in held if one.outcome == "higher"]
    if refuted:
        return "higher", f"refuted: {', '.join(refuted)}; errors are more frequent here than was claimed"
    one = next(one for one in held if one.point is deciding)
    name = f"{deciding['impostor']}:{deciding['name']}"
    if one.fmr is None:
        types = ", ".join(one.shown.fmr)
        why = f"no pair is of its type, only of {types}; name types in the column impostor, or give --point"
        return "too few to say", f"nothing can be said of {name}: {why}"
    if one.outcome == "holds":
        return "holds", f"not refuted: {name} holds here"
    return "too few to say", f"not refuted, but these are too few pairs to say that {name} holds"


def p_higher(claimed: Rate, shown: Rate) -> float:
    """The chance of such a difference, or a larger one, were the two rates equal: one-sided, see above."""
    difference = shown.value - claimed.value
    if difference <= 0:
        return 1.0
    error = math.hypot(shown.value - shown.low, claimed.high - claimed.value)
    return float(norm.sf(BOUND * difference / error)) if error > 0 else 0.0


def _test(pairs: Sequence[tuple[Rate, Rate] | None]) -> Iterator[Tested | None]:
    """(claimed, shown) of each rate of one family, None where there is nothing to test."""
    adjusted = iter(_holm([p_higher(*pair) for pair in pairs if pair is not None]))
    for pair in pairs:
        if pair is None:
            yield None
        else:
            claimed, shown = pair
            p = next(adjusted)
            yield Tested(claimed, shown, p, _outcome(claimed, shown, p))


def _holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the order given."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = steps
    return [float(one) for one in adjusted]


def _outcome(claimed: Rate, shown: Rate, p: float) -> Outcome:
    if p <= LEVEL:
        return "higher"
    near = shown.value <= claimed.high and _odds(shown.high) <= FAR_OFF * _odds(claimed.high)
    return "holds" if near else "too few to say"


def _odds(rate: float) -> float:
    return math.inf if rate >= 1 else rate / (1 - rate)
