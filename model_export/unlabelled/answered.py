"""What answers add to evidence without labels: FNMR, impostors that lie near, cleaner random ones, likelihood ratios.

All of it is of the pairs of the collection, every pair weighing the same: FNMR is the share of all matching pairs that
score below a threshold, whether anybody was asked about them or not. A cell's pairs match as often as its curve says,
so each answer speaks for the pairs of its kind. `value` is the median of the draws, `low` and `high` their 2.5 and
97.5 % quantiles, and where fewer than three answers stand on one side of a threshold nothing is claimed of that side.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import norm
from scipy.stats import t as student

from app.core.evidence import Calibration, GenuineCurve, ImpostorCurve, Rate
from app.core.evidence.binning import Binned
from app.core.evidence.calibration import ImpostorType, OperatingPoint, Ratio, ScoreHistogram
from app.core.evidence.curves import lowest_threshold
from app.core.evidence.points import default_name, hardest, name_points
from app.core.evidence.rates import round_rate
from app.core.evidence.ratio import fit_ratio
from app.core.evidence.resampling import Resampled
from app.core.scoring import Float32
from model_export.unlabelled.alike import RandomPairs
from model_export.unlabelled.curve import Answers, draw_matches
from model_export.unlabelled.frame import NEIGHBOURS, Float64, Frame, Integers

DRAWS = 1000
FEWEST = 15
"""Answers of one kind below which nothing that rests on them is told."""
WIDEST = 0.35
"""How wide the interval of FNMR at the default operating point may be, lest the evidence say more than is known."""
SEEN = 3
HARD = "hard"
HARD_WORDS = f"an item that does not match, among the {NEIGHBOURS} most alike ones of either of the two"


class TooFewAnswersError(Exception):
    """The answers do not tell FNMR; the message says why, and what would help."""


@dataclass(frozen=True)
class Answered:
    """What the answers say: how many match and how many do not, the share of random pairs that match, matches of each
    cell as drawn (draws, cells), and the members of Calibration that rest on rates.
    """

    matches: int
    others: int
    share: Rate
    pairs: Float64
    types: tuple[ImpostorType, ...]
    curves: tuple[ImpostorCurve, ...]
    fnmr: GenuineCurve
    points: tuple[OperatingPoint, ...]
    defaults: Mapping[str, str]
    default_impostor: str
    ratios: tuple[Ratio, ...]

    @property
    def default(self) -> OperatingPoint | None:
        """The default operating point, None where no FMR of 1e-1 can be claimed."""
        key = self.default_impostor, self.defaults.get(self.default_impostor)
        return next((point for point in self.points if (point.impostor, point.name) == key), None)


@dataclass(frozen=True)
class _Drawn:
    """Draws by knot bin (draws, knots + 1), as counts of pairs: those that match, random ones that do not, near ones
    that do not; and the mean score of each bin.
    """

    matching: Float64
    random: Float64
    near: Float64
    centre: Float64


def read_answers(frame: Frame, asked: Integers, match: Float64, random: RandomPairs, *, seed: int) -> Answered:
    """What the answers say of the pairs `asked` (answers,): places in the frame. `random` is what is known of random
    pairs without them.

    Raises TooFewAnswersError where they do not tell FNMR.
    """
    matches = int(match.sum())
    others = len(match) - matches
    if min(matches, others) < FEWEST:
        what = "match" if matches < FEWEST else "do not match"
        raise TooFewAnswersError(
            f"{min(matches, others)} of {len(match)} answers {what}, and it takes {FEWEST}: ask on"
        )
    pairs = draw_matches(frame, Answers(frame.cell[asked].astype(np.int64), match), DRAWS, seed)
    knots = np.array(random.curve.thresholds, np.float32)
    drawn = _by_knot(frame, pairs, knots)
    score, genuine = frame.score[asked], match > 0
    fnmr = GenuineCurve(units=matches, **_rates(drawn.matching, knots, score[genuine]))
    share = rate_of(pairs.sum(axis=1) / len(frame))
    things = max(1, round(random.kind.unit_pairs / _alike(share, frame.items) ** 2))
    types = [random.kind.model_copy(update={"unit_pairs": things})]
    curves = [_without_matches(random, drawn.matching / len(frame), share, types[0], frame.items)]
    near_asked = score[frame.near[asked] & ~genuine]
    if len(near_asked) >= FEWEST:
        near = ImpostorCurve(impostor=HARD, **_rates(drawn.near, knots, near_asked, items=frame.items))
        if lowest_threshold(near, 0.1) is not None:
            curves.append(near)
            types.append(ImpostorType(type=HARD, description=HARD_WORDS, unit_pairs=len(near_asked)))
    points = tuple(point for curve in curves for point in name_points(curve, fnmr))
    by_type = {curve.impostor: [point for point in points if point.impostor == curve.impostor] for curve in curves}
    answered = Answered(
        matches=matches,
        others=others,
        share=share,
        pairs=pairs,
        types=tuple(types),
        curves=tuple(curves),
        fnmr=fnmr,
        points=points,
        defaults={name: chosen for name, own in by_type.items() if (chosen := default_name(own)) is not None},
        default_impostor=hardest({curve.impostor: curve for curve in curves}, fnmr),
        ratios=tuple(_ratios(drawn, knots, types, matches)),
    )
    point = answered.default
    if point is not None and point.fnmr is not None and point.fnmr.high - point.fnmr.low > WIDEST:
        raise TooFewAnswersError(
            f"{matches} of {len(match)} answers match, which leaves FNMR at {point.fnmr.low:.2g} to "
            f"{point.fnmr.high:.2g}: ask on"
        )
    return answered


def add_answers(calibration: Calibration, frame: Frame, answered: Answered) -> Calibration:
    """The calibration of random pairs with what the answers add."""
    added = {one.type: one.unit_pairs for one in answered.types if one.type == HARD}
    changed: dict[str, object] = {
        "impostors": answered.types,
        "impostor_curves": answered.curves,
        "genuine_curves": (answered.fnmr,),
        "operating_points": answered.points,
        "defaults": answered.defaults,
        "default_impostor": answered.default_impostor,
        "ratios": answered.ratios,
        "histogram": _histogram(frame, answered.pairs, calibration.histogram, near=bool(added)),
        "counts": calibration.counts.model_copy(
            update={
                "genuine_units": answered.matches,
                "genuine_pairs": answered.matches,
                "impostor_pairs": {**calibration.counts.impostor_pairs, **added},
            }
        ),
    }
    members = {name: getattr(calibration, name) for name in type(calibration).model_fields}
    return Calibration.model_validate({**members, **changed})


def _by_knot(frame: Frame, matches: Float64, knots: Float32) -> _Drawn:
    """Cells to knot bins: a pair belongs to the bin of its score, and matches as often as others of its cell."""
    place = np.searchsorted(knots, frame.score, side="right")
    width = len(knots) + 1
    chance = matches / frame.count
    both = _table(frame, place, width, np.ones(len(frame)))
    near = _table(frame, place, width, frame.near)
    sums = np.bincount(place, weights=frame.score, minlength=width)
    return _Drawn(
        matching=np.asarray(chance @ both),
        random=np.asarray((1.0 - chance) @ both),
        near=np.asarray((1.0 - chance) @ near),
        centre=sums / np.maximum(np.bincount(place, minlength=width), 1),
    )


def _table(frame: Frame, place: Integers, width: int, weight: Any) -> csr_array:
    """The weight of the pairs of each cell in each column `place` (pairs,): (cells, width)."""
    key = frame.cell.astype(np.int64) * width + place
    held = np.bincount(key, weights=weight, minlength=len(frame.count) * width)
    return csr_array(held.reshape(len(frame.count), width))


def _rates(counts: Float64, knots: Float32, seen: Float32, *, items: int | None = None) -> dict[str, Any]:
    """The members of a curve from draws by bin (draws, knots + 1), and the scores of the answers it rests on.

    Without `items` the share below each knot: FNMR of this collection. Else the share at or above it: FMR, for which
    the collection is a sample of so many, so that the error of a share of them is added.
    """
    shares = counts / counts.sum(axis=1, keepdims=True)
    below = np.clip(np.cumsum(shares, axis=1)[:, :-1], 0.0, 1.0)
    rate = below if items is None else 1.0 - below
    low, value, high = np.quantile(rate, (0.025, 0.5, 0.975), axis=0)
    if items is not None:
        error = norm.isf(0.025) * np.sqrt(value * (1.0 - value) / items)
        low = np.minimum.accumulate(np.clip(value - np.hypot(value - low, error), 0.0, 1.0))
        high = np.minimum.accumulate(np.clip(value + np.hypot(high - value, error), 0.0, 1.0))
    under = np.searchsorted(np.sort(seen), knots)
    wrong, right = (under, len(seen) - under) if items is None else (len(seen) - under, under)
    low = np.where(wrong < SEEN, 0.0, low)
    high = np.where(right < SEEN, 1.0, np.maximum(high, SEEN / len(seen)))
    return _columns(knots, value, np.minimum(low, value), np.maximum(high, value))


def _columns(knots: Float32, value: Float64, low: Float64, high: Float64) -> dict[str, Any]:
    return {
        "k": 1,
        "aggregation": "single",
        "thresholds": tuple(knots.tolist()),
        "value": tuple(round_rate(one, "nearest") for one in value),
        "low": tuple(round_rate(one, "down") for one in low),
        "high": tuple(round_rate(one, "up") for one in high),
    }


def _without_matches(
    random: RandomPairs, matching: Float64, share: Rate, kind: ImpostorType, items: int
) -> ImpostorCurve:
    """FMR of random pairs less those that match: `matching` (draws, knots + 1) are their shares of all pairs. `kind`
    counts pairs of independent things.

    The bootstrap of items takes each for a thing of its own. Now it is known how many of the items are of one, so that
    its interval grows by the design effect (Kish 1965, "Survey sampling", 5.4) and by Student's t of so few things; by
    as much as that of items drawn together is wider; and by what is in doubt about matches.
    """
    above = np.cumsum(matching[:, ::-1], axis=1)[:, ::-1][:, 1:]
    few, middle, many = np.quantile(above, (0.025, 0.5, 0.975), axis=0)
    alike = _alike(share, items)
    every, least, most = (np.array(side) for side in (random.curve.value, random.curve.low, random.curve.high))
    left = 1.0 - share.value
    value = np.minimum.accumulate(np.clip((every - middle) / left, 0.0, 1.0))
    things = max(items / alike, 2.0)
    wider = np.sqrt(alike * things / (things - 1.0)) * student.ppf(0.975, things - 1.0) / norm.isf(0.025)
    under = _add_errors(every - least, wider, every - random.together.low)
    over = _add_errors(most - every, wider, random.together.high - every)
    low = value - (under + many - middle) / left
    high = value + (over + middle - few) / left
    low = np.minimum.accumulate(np.clip(low, 0.0, value))
    high = np.minimum.accumulate(np.clip(high, np.maximum(value, min(3.0 / kind.unit_pairs, 1.0)), 1.0))
    return ImpostorCurve(
        impostor=random.curve.impostor, **_columns(np.array(random.curve.thresholds, np.float32), value, low, high)
    )


def _add_errors(error: Float64, wider: float, together: Float64) -> Float64:
    """The error of items `wider` for the things they show, with what look-alikes add to that of items: as variances."""
    looks = np.maximum(np.square(together) - np.square(error), 0.0)
    return np.asarray(np.sqrt(np.square(error * wider) + looks))


def _alike(share: Rate, items: int) -> float:
    """How many of so many items show the same thing, for each of them, where that share of pairs matches."""
    return 1.0 + share.value * (items - 1)


def rate_of(draws: Float64) -> Rate:
    """The median of draws (draws,), and their 2.5 and 97.5 % quantiles."""
    low, value, high = (float(one) for one in np.quantile(draws, (0.025, 0.5, 0.975)))
    return Rate(value=value, low=low, high=high)


def _ratios(drawn: _Drawn, knots: Float32, types: list[ImpostorType], matches: int) -> list[Ratio]:
    """A likelihood ratio against each type, fitted on the draws; none where genuine scores are not higher."""
    ratios = []
    for one in types:
        impostor = drawn.random if one.type != HARD else drawn.near
        sides = (
            _sample(drawn.matching, drawn.centre, knots, matches),
            _sample(impostor, drawn.centre, knots, one.unit_pairs),
        )
        with suppress(ValueError):
            ratios.append(fit_ratio(one.type, *sides))
    return ratios


def _sample(counts: Float64, centre: Float64, knots: Float32, rows: int) -> tuple[Binned, Resampled]:
    """Draws in the form that fit_ratio takes; of what was resampled otherwise, only rows and centres are looked at."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    point = shares.mean(axis=0)
    binned = Binned(knots, np.zeros((0, 1), np.int64), np.zeros((0, len(point)), np.float32), centre, np.zeros(0), rows)
    return binned, Resampled(knots, point, shares, rows, rows, 1.0, np.ones(len(shares), np.bool_))


def _histogram(frame: Frame, matches: Float64, before: ScoreHistogram, *, near: bool) -> ScoreHistogram:
    edges = np.array(before.edges)
    width = len(edges) - 1
    place = np.clip(np.searchsorted(edges, frame.score, side="right") - 1, 0, width - 1)
    chance = (matches / frame.count).mean(axis=0)

    def shares(counts: Float64) -> tuple[float, ...]:
        return tuple(float(f"{min(share, 1.0):.6g}") for share in counts / counts.sum())

    everything = _table(frame, place, width, np.ones(len(frame)))
    impostors = dict(before.impostor)
    if near:
        impostors[HARD] = shares((1.0 - chance) @ _table(frame, place, width, frame.near))
    return ScoreHistogram(edges=before.edges, genuine=shares(chance @ everything), impostor=impostors)
