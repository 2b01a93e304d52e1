"""Does a claim hold on other pairs? The test of two samples, against populations whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.core.evidence import PairScores, Rate, Units, measure
from app.core.evidence.binning import choose_knots
from app.core.evidence.points import name_points
from model_export.claims import hold_claims, p_higher, sum_up
from model_export.comparing import Scores
from tests.core.evidence.synthetic import genuine_scores, impostor_scores, true_fmr
from tests.core.evidence.test_coverage import most_misses

SHARE = 0.1
DECIDING = "fmr_1e-1"


def draw(rng: np.random.Generator, units: int, shift: float = 0.0) -> Scores:
    """A sample of a population whose impostors score higher by `shift` than those that were calibrated."""
    impostors = impostor_scores(rng, "normal", units, SHARE)
    shifted = PairScores(impostors.score + np.float32(shift), impostors.unit_a, impostors.unit_b)
    return Scores(Units(units), genuine_scores(rng, "normal", units, SHARE, 2), {"random": shifted})


def claim(scores: Scores, seed: int, type_: str = "random") -> list[dict[str, Any]]:
    """The operating points that calibrating on these scores gives, as /models shows them."""
    knots = choose_knots(scores.genuine, scores.impostors, 40)
    measured = measure(scores.units, scores.genuine, scores.impostors, knots, draws=1000, seed=seed)
    return [
        {
            "name": point.name,
            "impostor": type_,
            "threshold": point.threshold,
            "fmr": point.fmr.model_dump(),
            "fnmr": None if point.fnmr is None else point.fnmr.model_dump(),
            "default": point.name == DECIDING,
        }
        for point in name_points(measured.fmr["random"], measured.fnmr)
    ]


def shift_to(wanted: float, threshold: float) -> float:
    """By how much impostors must score higher for this FMR at a threshold."""
    low, high = 0.0, 3.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if true_fmr("normal", threshold - middle, SHARE) < wanted else (low, middle)
    return low


def outcomes(units: int, repeats: int, *, doubled: bool) -> list[str]:
    """Calibrate on one sample, test on another, each of so many units; of the service as a whole, by repeat.

    doubled: the FMR is twice what is claimed at the deciding point; else both samples are of one population.
    """
    rng = np.random.default_rng([units, doubled])
    found: list[str] = []
    for repeat in range(repeats):
        points = claim(draw(rng, units), repeat)
        deciding = next(point for point in points if point["default"])
        shift = shift_to(2 * deciding["fmr"]["value"], deciding["threshold"]) if doubled else 0.0
        held = hold_claims(points, draw(rng, units, shift), draws=300, seed=repeat)
        found.append(sum_up(held, deciding)[0])
    return found


def test_a_claim_that_is_true_raises_the_alarm_in_at_most_one_of_twenty() -> None:
    found = outcomes(30, 50, doubled=False)
    assert found.count("higher") <= most_misses(50)
    assert found.count("holds") > 25, "a test that never says anything would not alarm either"


def test_a_rate_that_has_doubled_is_mostly_found() -> None:
    found = outcomes(90, 12, doubled=True)
    assert found.count("higher") >= 8
    assert found.count("holds") <= 1


@pytest.mark.parametrize(
    ("claimed", "shown", "expected"),
    [
        # 1.96 errors apart, each error being half of the interval: the lower bound of the difference is 0
        ((0.10, 0.08, 0.12), (0.10 + 0.02 * 2**0.5, 0.10 + 0.02 * 2**0.5 - 0.02, 0.2), 0.025),
        ((0.10, 0.08, 0.12), (0.09, 0.08, 0.1), 1.0),
        ((0.0, 0.0, 0.01), (0.02, 0.01, 0.04), 0.0028),  # no error was seen: 1.96 x 0.02 / sqrt(0.0002) = 2.772
    ],
)
def test_both_errors_count(
    claimed: tuple[float, float, float], shown: tuple[float, float, float], expected: float
) -> None:
    one, other = (Rate(value=value, low=low, high=high) for value, low, high in (claimed, shown))
    assert p_higher(one, other) == pytest.approx(expected, abs=1e-4)


def test_few_pairs_say_nothing_either_way() -> None:
    rng = np.random.default_rng(4)
    points = claim(draw(rng, 120), 0)
    held = hold_claims(points, draw(rng, 7), draws=300, seed=0)
    outcome, said = sum_up(held, next(point for point in points if point["default"]))
    assert outcome == "too few to say"
    assert "too few pairs to say that random:fmr_1e-1 holds" in said


def test_pairs_of_no_type_stand_for_the_default_one_and_pairs_of_another_for_none() -> None:
    rng = np.random.default_rng(5)
    points = claim(draw(rng, 60), 0, type_="hard")
    sample = draw(rng, 60)
    default = next(point for point in points if point["default"])
    for name, against in (("labelled", "hard"), ("near", None)):
        other = Scores(sample.units, sample.genuine, {name: sample.impostors["random"]})
        held = hold_claims(points, other, draws=300, seed=0)
        assert {one.against for one in held} == {None if against is None else name}
        assert all((one.fmr is None) == (against is None) for one in held)
        assert all(one.fnmr is not None for one in held)
    outcome, said = sum_up(held, default)
    assert outcome == "too few to say"
    assert "no pair is of its type, only of near" in said
