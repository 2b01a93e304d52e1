"""Impostors of another population: exact at the thresholds that ship, bounded, and never chosen from."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from pydantic import ValidationError

from app.core.errors import OperatingPointUnavailable
from app.core.evidence import (
    Calibration,
    PairScores,
    Selectors,
    Units,
    add_external,
    choose,
    fmr_at,
    withdraw_claims,
)
from tests.core.evidence import synthetic

POPULATION = "other units, elsewhere"


@functools.cache
def forged() -> PairScores:
    """Imitations of 12 units by 3 makers each, nearer to genuine scores than strangers are."""
    rng = np.random.default_rng(5)
    unit, maker = (column.ravel() for column in np.meshgrid(np.arange(12), 12 + np.arange(3), indexing="ij"))
    unit, maker = np.repeat(unit, 40), np.repeat(maker, 40)
    return PairScores(rng.normal(1.5, 1.0, len(unit)).astype(np.float32), unit, maker)


@functools.cache
def with_forged() -> Calibration:
    words = {"skilled": "an imitation"}
    return add_external(synthetic.calibrate(), Units(15), {"skilled": forged()}, words, population=POPULATION, seed=1)


def test_an_external_type_names_its_population_and_changes_nothing_else() -> None:
    before, after = synthetic.calibrate(), with_forged()
    added = after.impostor("skilled")
    assert (added.external, added.population, added.unit_pairs) == (True, POPULATION, 12 * 3)
    assert after.operating_points == before.operating_points
    assert (after.defaults, after.default_impostor) == (before.defaults, before.default_impostor)
    assert after.ratios == before.ratios
    assert after.counts.impostor_pairs["skilled"] == len(forged().score)


def test_the_share_accepted_at_a_shipped_threshold_is_that_of_the_scores() -> None:
    after = with_forged()
    curve = after.fmr_curve("skilled")
    assert curve is not None
    assert after.operating_points
    for point in after.operating_points:
        # every unit pair has as many scores here, so that their plain share is the rate
        share = float((forged().score >= np.float32(point.threshold)).mean())
        rate = fmr_at(curve, point.threshold)
        assert rate.value == pytest.approx(share, rel=1e-5, abs=1e-6)
        assert rate.low <= rate.value <= rate.high


def test_verdicts_report_an_external_type_and_refuse_it_as_a_selector() -> None:
    shown = choose(with_forged(), "released", Selectors()).operating_point
    assert shown is not None
    assert shown["fmr_by_impostor"]["skilled"]["external"] is True
    for selectors in (Selectors(impostor="skilled"), Selectors(impostor="skilled", threshold=0.5)):
        with pytest.raises(OperatingPointUnavailable, match="measured on another population only"):
            choose(with_forged(), "released", selectors)


def test_a_type_that_is_measured_already_is_refused() -> None:
    with pytest.raises(ValueError, match="near is measured already"):
        add_external(synthetic.calibrate(), Units(15), {"near": forged()}, {"near": ""}, population="p", seed=1)


def test_no_operating_point_and_no_default_may_be_of_an_external_type() -> None:
    whole = with_forged().model_dump()
    point = {**whole["operating_points"][0], "impostor": "skilled"}
    for change in (
        {"default_impostor": "skilled"},
        {"operating_points": (*whole["operating_points"], point)},
        {"defaults": {**whole["defaults"], "skilled": point["name"]}},
    ):
        with pytest.raises(ValidationError):
            Calibration.model_validate({**whole, **change})


def test_withdrawn_evidence_claims_nothing_and_keeps_its_figures() -> None:
    before = synthetic.calibrate()
    after = withdraw_claims(before)
    assert before.supported
    assert not after.supported
    assert {point.name for point in after.operating_points} == {"eer"}
    assert after.impostor_curves == before.impostor_curves
    with pytest.raises(OperatingPointUnavailable):
        choose(after, "demonstration", Selectors(max_fmr=0.1))
    undecided = choose(after, "demonstration", Selectors())
    assert [reason.code for reason in undecided.reasons] == ["insufficient_evidence"]
    assert undecided.threshold is None
