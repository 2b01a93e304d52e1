"""Calibration as a whole: what is claimed, what is the default, what is verified, and that it fits into a bundle."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from pydantic import ValidationError

from app.core.evidence import (
    Calibration,
    GenuineScores,
    PairScores,
    Rate,
    Units,
    disagree,
    disagreements,
    estimate,
    fmr_at,
    lowest_threshold,
    verify,
)
from app.core.evidence.binning import bin_scores, choose_knots, weights_by_unit
from app.core.evidence.points import default_name
from app.core.evidence.resampling import draw_weights, resample
from tests.core.evidence import synthetic


@functools.cache
def calibration() -> Calibration:
    return synthetic.calibrate()


def scores(score: list[float], a: list[int], b: list[int]) -> PairScores:
    return PairScores(np.array(score, np.float32), np.array(a), np.array(b))


def test_every_unit_pair_weighs_the_same_however_many_items_it_has() -> None:
    # units 0 and 1 share nine item pairs that all match, the other unit pairs one each that does not
    pairs = scores([0.9] * 9 + [0.1, 0.1], [0] * 9 + [0, 2], [1] * 9 + [2, 1])
    binned = bin_scores(pairs, np.array([0.5], np.float32))
    assert binned.rows == 3
    assert binned.shares.mean(axis=0).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_an_unordered_pair_counts_once_whichever_way_it_is_given() -> None:
    binned = bin_scores(scores([0.9, 0.1], [0, 1], [1, 0]), np.array([0.5], np.float32))
    assert binned.rows == 1
    assert binned.shares.tolist() == [[0.5, 0.5]]


def test_draws_inside_groups_never_pair_two_copies_of_a_group() -> None:
    # A group of one unit has no pairs; two drawn copies of a group of two would, if copies were mixed, give 0-0 pairs
    group = np.array([0, 0, 1, 1, 2, 2])
    pairs = PairScores(
        np.array([0.1, 0.5, 0.9], np.float32), np.array([0, 2, 4]), np.array([1, 3, 5]), within_groups=True
    )
    draws = draw_weights(Units(6, group), 2000, 1)
    drawn = resample(bin_scores(pairs, np.array([0.3, 0.7], np.float32)), draws, within_groups=True).draws
    assert drawn.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.03)
    crossing = PairScores(np.array([0.1], np.float32), np.array([0]), np.array([2]), within_groups=True)
    with pytest.raises(ValueError, match="not cross"):
        resample(bin_scores(crossing, np.array([0.5], np.float32)), draws, within_groups=True)


def test_units_of_one_group_widen_every_bound() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(8), 10)
    shift = rng.normal(size=8)[group]
    a, b = np.triu_indices(80, 1)
    impostor = PairScores((shift[a] + shift[b] + rng.normal(size=len(a))).astype(np.float32), a, b)
    genuine = GenuineScores(
        (4 + np.repeat(shift, 3) + rng.normal(size=240)).astype(np.float32), np.repeat(np.arange(80), 3)
    )
    alone, grouped = (
        estimate(units, genuine, {"random": impostor}, {"random": ""}, guard_band=0.0, seed=2)
        for units in (Units(80), Units(80, group))
    )
    middle = len(alone.genuine_curves[0].high) // 4
    assert grouped.genuine_curves[0].high[middle] > alone.genuine_curves[0].high[middle]
    assert np.sum(grouped.impostor_curves[0].high) > np.sum(alone.impostor_curves[0].high)
    assert grouped.bootstrap.groups_first
    assert not alone.bootstrap.groups_first


def test_nothing_below_three_in_p_is_claimed() -> None:
    for curve, kind in zip(calibration().impostor_curves, calibration().impostors, strict=True):
        assert kind.unit_pairs == 60 * 59 / 2
        assert min(curve.high) >= 3 / kind.unit_pairs
        assert lowest_threshold(curve, 2.9 / kind.unit_pairs) is None
    assert min(calibration().genuine_curves[0].high) >= 3 / 60
    assert not any(p.name == "fmr_1e-3" for p in calibration().operating_points)


def test_named_points_are_what_max_fmr_finds() -> None:
    for point in calibration().operating_points:
        curve = calibration().fmr_curve(point.impostor)
        assert curve is not None
        assert point.fmr == fmr_at(curve, point.threshold)
        if point.name != "eer":
            rate = float(point.name.removeprefix("fmr_"))
            assert point.fmr.high <= rate
            assert point.threshold == lowest_threshold(curve, rate)


def test_at_eer_both_measured_rates_nearly_agree() -> None:
    for point in (p for p in calibration().operating_points if p.name == "eer"):
        assert point.fnmr is not None
        assert point.fmr.value == pytest.approx(point.fnmr.value, abs=0.02)


def test_the_hardest_type_is_the_default_one() -> None:
    assert calibration().default_impostor == "near"


def test_default_is_the_strictest_point_with_a_bearable_fnmr() -> None:
    point = next(p for p in calibration().operating_points if p.name == "fmr_1e-1" and p.impostor == "near")

    def named(name: str, fnmr: float) -> object:
        return point.model_copy(update={"name": name, "fnmr": Rate(value=fnmr, low=0.0, high=1.0)})

    loose, middle, strict = named("fmr_1e-1", 0.05), named("fmr_1e-2", 0.2), named("fmr_1e-3", 0.21)
    eer, beyond = named("eer", 0.0), named("fmr_1e-4", 0.0)
    assert default_name([loose, middle, strict, eer, beyond]) == "fmr_1e-2"  # type: ignore[list-item]
    assert default_name([named("fmr_1e-1", 0.5), named("fmr_1e-2", 0.6)]) == "fmr_1e-1"  # type: ignore[list-item]
    assert default_name([eer]) is None  # type: ignore[list-item]


def test_few_units_cannot_claim_one_in_ten() -> None:
    few = synthetic.calibrate(units=7)
    assert not few.supported
    assert few.defaults == {}
    assert few.undetermined_rate is None


@pytest.mark.parametrize("seed", range(8))
def test_two_units_make_a_demonstration_that_claims_nothing(seed: int) -> None:
    # one unit pair: every other draw holds none of it, and every bound reaches from 0 to 1
    pair = scores([0.1, 0.3, 0.2], [0, 0, 0], [1, 1, 1])
    own = GenuineScores(np.array([0.7, 0.9, 0.4], np.float32), np.array([0, 1, 1]))
    found = estimate(Units(2), own, {"random": pair}, {"random": ""}, guard_band=0.0, seed=seed)
    few = Calibration(**synthetic.members(2), **found.members())
    assert not few.supported
    assert (few.defaults, few.undetermined_rate, few.impostors[0].unit_pairs) == ({}, None, 1)
    assert [point.name for point in few.operating_points] == ["eer"]
    for curve in (few.impostor_curves[0], few.genuine_curves[0]):
        assert set(curve.low) == {0.0}
        assert set(curve.high) == {1.0}
    assert few.ratios[0].high == 0.0
    assert Calibration.model_validate_json(few.model_dump_json()) == few


def test_a_genuine_pair_of_two_units_counts_for_each_of_them() -> None:
    crossing = GenuineScores(np.array([0.9, 0.9, 0.1], np.float32), np.array([0, 1, 1]), np.array([1, 0, 1]))
    assert crossing.pairs == 2
    binned = bin_scores(crossing, np.array([0.5], np.float32))
    assert binned.rows == 2  # units, not pairs
    assert binned.members.tolist() == [[0, 1], [1, 1]]
    assert (binned.weight / binned.weight.sum()).tolist() == [
        0.75,
        0.25,
    ]  # units 0 and 1 weigh the same: 1 and 1/2, 1/2
    assert weights_by_unit(crossing).tolist() == [0.375, 0.375, 0.25]
    with pytest.raises(ValueError, match="one entry for each"):
        GenuineScores(crossing.score, crossing.unit, np.array([1]))


def test_independent_pairs_of_25_units_without_an_error_support_one_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    supported = 0
    for _ in range(20):
        pairs = synthetic.impostor_scores(rng, "normal", 25, 0.0)
        curve = estimate(Units(25), None, {"random": pairs}, {"random": ""}, guard_band=0.0, seed=1).impostor_curves[0]
        supported += lowest_threshold(curve, 1e-2) is not None
        assert lowest_threshold(curve, 0.0099) is None
    assert supported > 0


def test_evidence_survives_json_and_stays_below_its_size() -> None:
    text = calibration().model_dump_json()
    assert Calibration.model_validate_json(text) == calibration()
    rng = np.random.default_rng(3)
    types = {name: synthetic.impostor_scores(rng, "normal", 60, 0.1) for name in ("random", "hard")}
    own = synthetic.genuine_scores(rng, "normal", 60, 0.3, 4)
    full = estimate(Units(60), own, types, dict.fromkeys(types, ""), guard_band=0.0, seed=1)
    assert len(full.impostor_curves[0].thresholds) <= 400
    assert len(Calibration(**synthetic.members(), **full.members()).model_dump_json()) < 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"default_impostor": "forged"},
        {"defaults": {"near": "eer"}},
        {"defaults": {"near": "fmr_1e-9"}},
        {"impostor_curves": ()},
        {"valid_for_days": 0},
        {"source": "theirs"},
    ],
)
def test_evidence_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({**calibration().model_dump(), **change})


def test_the_same_seed_gives_the_same_evidence() -> None:
    assert synthetic.calibrate() == calibration()


def test_verification_on_the_same_kind_agrees_and_on_another_does_not() -> None:
    rng = np.random.default_rng(77)
    random = synthetic.impostor_scores(rng, "normal", 60, 0.1)
    own = synthetic.genuine_scores(rng, "normal", 60, 0.3, 4)
    honest = verify(calibration(), Units(60), own, {"random": random}, population="new numbers", seed=1)
    assert disagreements(honest) == ()
    assert all((p.verified is not None) == (p.impostor == "random") for p in honest.operating_points)
    shifted = PairScores(random.score + np.float32(1.5), random.unit_a, random.unit_b)
    broken = verify(calibration(), Units(60), own, {"random": shifted}, population="other numbers", seed=1)
    assert any("fmr_1e-2 against random: FMR" in line for line in disagreements(broken))
    assert Calibration.model_validate_json(broken.model_dump_json()) == broken


def test_rates_disagree_only_when_their_intervals_are_apart() -> None:
    one, two, three = (Rate(value=v, low=v - 0.05, high=v + 0.05) for v in (0.1, 0.2, 0.3))
    touching = Rate(value=0.1, low=0.05, high=two.low)
    assert disagree(one, three)
    assert disagree(three, one)
    assert not disagree(touching, two)
    assert not disagree(two, two)


def test_undetermined_rate_counts_scores_within_the_guard_band() -> None:
    wide, narrow = synthetic.calibrate(guard_band=0.5).undetermined_rate, calibration().undetermined_rate
    assert wide is not None
    assert narrow is not None
    assert wide.genuine > 0.1
    assert narrow.genuine <= 0.01


def test_histograms_hold_all_the_weight() -> None:
    histogram = calibration().histogram
    assert sum(histogram.genuine) == pytest.approx(1.0, abs=1e-4)
    assert all(sum(row) == pytest.approx(1.0, abs=1e-4) for row in histogram.impostor.values())


def test_knots_reach_into_the_tails_and_are_bounded_in_number() -> None:
    rng = np.random.default_rng(5)
    pairs, own = synthetic.impostor_scores(rng, "normal", 60, 0.1), synthetic.genuine_scores(rng, "normal", 60, 0.3, 4)
    knots = choose_knots(own, {"random": pairs}, 400)
    assert len(knots) <= 400
    assert knots.dtype == np.float32
    assert (np.sort(pairs.score)[-2:] <= knots[-1]).all()
    assert (pairs.score >= knots[-1]).sum() == 0 or own.score.max() > pairs.score.max()


@pytest.mark.parametrize(
    ("score", "a", "b", "why"),
    [
        ([0.1], [1], [1], "different units"),
        ([float("nan")], [0], [1], "finite"),
        ([], [], [], "some"),
    ],
)
def test_scores_that_cannot_be_evidence_are_refused(score: list[float], a: list[int], b: list[int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        scores(score, a, b)


def test_units_out_of_range_and_too_few_draws_are_refused() -> None:
    pairs = scores([0.1, 0.2, 0.3], [0, 0, 1], [1, 2, 2])
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        estimate(Units(2), None, {"random": pairs}, {"random": ""}, guard_band=0.0, seed=1)
    with pytest.raises(ValueError, match="1000 draws"):
        estimate(Units(3), None, {"random": pairs}, {"random": ""}, guard_band=0.0, seed=1, draws=999)
