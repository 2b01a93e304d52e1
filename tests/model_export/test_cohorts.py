"""Figures of each part of a population by itself: who is served worse is seen, and what is too small is said."""

from __future__ import annotations

import numpy as np
import pytest

from app.core.evidence import Rate
from model_export.cohorts import measure_cohorts
from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems
from model_export.measure import Embedded, Embeddings
from model_export.recipe import Calibration
from model_export.tables import cohort_rows

CHOSEN = Calibration(population="people", unit="person", random="another person", draws=1000)
UNITS, EACH, THRESHOLD = 30, 4, 0.5


def population(ages: list[str]) -> Embedded:
    """Thirty people, each of an age by turns; the items of the old scatter far more."""
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(UNITS), EACH)
    age = np.array([ages[one % len(ages)] for one in unit])
    spread = np.where(age == "old", 1.2, 0.1)[:, np.newaxis]
    vectors = (rng.normal(0, 1, (UNITS, 6))[unit] + spread * rng.normal(0, 1, (len(unit), 6))).astype(np.float32)
    zeros = np.zeros_like(unit)
    items = LabelledItems([{}] * len(unit), unit, unit, zeros, zeros, ("",), cohorts={"age": age})
    return Embedded(items, np.arange(len(unit)), Embeddings(np.ones(len(unit), np.bool_), vectors, None, None, {}))


def known(rate: Rate | None) -> Rate:
    assert rate is not None
    return rate


def test_who_is_served_worse_is_seen_at_the_threshold_that_was_chosen_for_all() -> None:
    people = population(["young", "old"])
    scores = score_all_pairs(people, "cosine", CHOSEN, seed=0)
    old, young = measure_cohorts(scores, people.items, THRESHOLD, draws=1000, seed=0)
    assert (old.kind, old.value, old.units, young.value, young.units) == ("age", "old", 15, "young", 15)
    assert known(old.auc).high < known(young.auc).value
    assert known(old.eer).low > known(young.eer).value
    assert known(old.fnmr).low > known(young.fnmr).high
    # by hand: the share of each person's own pairs below the threshold, people weighing the same
    own = scores.genuine
    missed = [(own.score[own.unit == unit] < THRESHOLD).mean() for unit in range(1, UNITS, 2)]
    assert known(old.fnmr).value == pytest.approx(np.mean(missed), abs=1e-6)


def test_a_cohort_of_few_units_is_named_and_not_measured() -> None:
    people = population(["young", "old", "young", "young", "young", "young"])
    scores = score_all_pairs(people, "cosine", CHOSEN, seed=0)
    rows = cohort_rows(measure_cohorts(scores, people.items, None, draws=1000, seed=0), None)
    old, young = rows[1:]
    assert old == ("old", "age", "5", "too few", "too few")
    assert "[" in young[3]


def test_one_value_makes_no_cohort_and_two_of_a_unit_are_refused() -> None:
    people = population(["young"])
    scores = score_all_pairs(people, "cosine", CHOSEN, seed=0)
    assert measure_cohorts(scores, people.items, None, draws=1000, seed=0) == []
    people.items.cohorts["age"][0] = "old"
    with pytest.raises(ValueError, match="a unit are of two cohorts"):
        measure_cohorts(scores, people.items, None, draws=1000, seed=0)


def test_without_a_threshold_no_error_rate_is_told() -> None:
    people = population(["young", "old"])
    scores = score_all_pairs(people, "cosine", CHOSEN, seed=0)
    header, *_ = cohort_rows(measure_cohorts(scores, people.items, None, draws=1000, seed=0), None)
    assert list(header) == ["cohort", "of", "units", "ROC AUC", "EER"]
