"""Promises of the arithmetic on embeddings and scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.core.errors import UnusableInput
from app.core.scoring import (
    Metric,
    aggregate,
    decide,
    euclidean_distance,
    log_likelihood_ratio,
    pool,
    posterior,
    similarity,
    similarity_matrix,
)

METRICS: tuple[Metric, ...] = ("cosine", "euclidean")
Vector = npt.NDArray[np.float32]
values = st.floats(-100, 100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)
vectors = hnp.arrays(np.float32, 7, elements=values).filter(lambda v: bool(np.abs(v).max() > 1e-10))


def bits(value: np.float32) -> bytes:
    assert value.dtype == np.float32
    return value.tobytes()


def random(rows: int, dimension: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@given(a=vectors, b=vectors)
def test_score_is_symmetric_bit_for_bit(metric: Metric, a: Vector, b: Vector) -> None:
    assert bits(similarity(a, b, metric)) == bits(similarity(b, a, metric))


@given(a=vectors)
def test_an_embedding_with_itself_scores_exactly_one_or_zero(a: Vector) -> None:
    assert similarity(a, a, "cosine") == np.float32(1.0)
    zero = similarity(a, a.copy(), "euclidean")
    assert zero == 0.0
    assert not np.signbit(zero)
    matrix = similarity_matrix(np.stack([a, a]), a[np.newaxis], "euclidean")
    assert not np.signbit(matrix).any()
    assert (similarity_matrix(np.stack([a, a]), a[np.newaxis], "cosine") == 1.0).all()


@given(a=vectors, b=vectors)
def test_cosine_never_leaves_its_range(a: Vector, b: Vector) -> None:
    assert -1.0 <= similarity(a, b, "cosine") <= 1.0
    assert similarity(a, -a, "cosine") == -1.0


def test_on_unit_vectors_squared_distance_is_two_minus_twice_the_cosine() -> None:
    rows = random(40, 64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for a, b in zip(rows, rows[::-1], strict=True):
        cosine, distance = float(similarity(a, b, "cosine")), float(euclidean_distance(a, b))
        assert distance**2 == pytest.approx(2.0 - 2.0 * cosine, abs=1e-6)
        assert float(similarity(a, b, "euclidean")) == -distance


@pytest.mark.parametrize("metric", METRICS)
def test_matrix_equals_the_single_scores_bit_for_bit(metric: Metric) -> None:
    a, b = random(300, 33, 1), random(41, 33, 2)
    b[5] = a[7]  # equal rows, where cancellation is worst
    b[6] = np.nextafter(a[8], np.float32(9))
    matrix = similarity_matrix(a, b, metric)
    single = np.array([[similarity(x, y, metric) for y in b] for x in a])
    assert matrix.tobytes() == single.tobytes()


@pytest.mark.parametrize("metric", METRICS)
@given(order=st.permutations(range(9)))
def test_matrix_entries_do_not_depend_on_the_order_of_rows(metric: Metric, order: list[int]) -> None:
    a, b = random(9, 16, 3), random(5, 16, 4)
    assert similarity_matrix(a[order], b, metric).tobytes() == similarity_matrix(a, b, metric)[order].tobytes()
    assert (
        similarity_matrix(b, a, metric).tobytes() == np.ascontiguousarray(similarity_matrix(a, b, metric).T).tobytes()
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_embedding_that_is_not_finite_is_refused(metric: Metric, bad: float) -> None:
    good, spoilt = np.ones(4, np.float32), np.array([1, bad, 0, 0], np.float32)
    for a, b in ((good, spoilt), (spoilt, good)):
        with pytest.raises(UnusableInput):
            similarity(a, b, metric)
        with pytest.raises(UnusableInput):
            similarity_matrix(a[np.newaxis], b[np.newaxis], metric)
        with pytest.raises(UnusableInput):
            euclidean_distance(a, b)


def test_zero_embedding_has_no_cosine_but_a_distance() -> None:
    zero, one = np.zeros(3, np.float32), np.array([1, 0, 0], np.float32)
    with pytest.raises(UnusableInput):
        similarity(zero, one, "cosine")
    with pytest.raises(UnusableInput):
        similarity_matrix(one[np.newaxis], zero[np.newaxis], "cosine")
    assert similarity(zero, one, "euclidean") == -1.0


def test_lengths_that_differ_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        similarity(np.ones(3, np.float32), np.ones(4, np.float32), "cosine")


def test_aggregation_reduces_over_references() -> None:
    scores = np.array([[0.1, 0.5, 0.3], [0.9, 0.2, 0.1]], np.float32)
    assert aggregate(scores, "max").tolist() == [np.float32(0.5), np.float32(0.9)]
    assert aggregate(scores, "mean").dtype == np.float32
    assert aggregate(scores, "mean") == pytest.approx([0.3, 0.4])
    assert float(aggregate(scores[0, :1], "single")) == np.float32(0.1)
    with pytest.raises(ValueError, match="exactly one"):
        aggregate(scores, "single")
    with pytest.raises(ValueError, match="at least one"):
        aggregate(scores[:, :0], "max")


def test_pooling_renormalises_and_leaves_a_single_window_alone() -> None:
    rows = np.array([[1, 0], [0, 1]], np.float32)
    assert pool(rows, True) == pytest.approx([math.sqrt(0.5)] * 2)
    assert pool(rows, False) == pytest.approx([0.5, 0.5])
    odd = np.array([[0.3, 0.4]], np.float32)
    assert pool(odd, True).tobytes() == odd.tobytes()
    with pytest.raises(UnusableInput):
        pool(np.array([[1, 0], [-1, 0]], np.float32), True)
    with pytest.raises(UnusableInput):
        pool(np.array([[np.nan, 0]], np.float32), True)


THRESHOLD = np.float32(0.1)


@pytest.mark.parametrize(
    ("score", "low", "band", "expected"),
    [
        (THRESHOLD, None, 0.0, ("match", None)),
        (np.nextafter(THRESHOLD, np.float32(0)), None, 0.0, ("no_match", None)),
        (np.float32(0.1000005), None, 1e-5, ("undetermined", "within_guard_band")),
        (np.float32(0.0999995), None, 1e-5, ("undetermined", "within_guard_band")),
        (np.float32(0.2), None, 1e-5, ("match", None)),
        (np.float32(0.05), np.float32(0.0), 0.0, ("undetermined", "between_thresholds")),
        (np.float32(0.0), np.float32(0.0), 0.0, ("undetermined", "between_thresholds")),
        (np.float32(-0.1), np.float32(0.0), 0.0, ("no_match", None)),
        (np.float32(1e-6), np.float32(0.0), 1e-5, ("undetermined", "within_guard_band")),
        (np.float32(0.1), np.float32(0.0), 0.0, ("match", None)),
    ],
)
def test_verdict_is_decided_at_or_above_the_threshold(
    score: np.float32, low: np.float32 | None, band: float, expected: tuple[Any, Any]
) -> None:
    assert decide(score, THRESHOLD, low, band) == expected


def test_a_score_exactly_a_guard_band_away_is_decided() -> None:
    assert decide(np.float32(0.75), np.float32(0.5), None, 0.25) == ("match", None)
    assert decide(np.float32(0.25), np.float32(0.5), None, 0.25) == ("no_match", None)


@given(prior=st.floats(0, 1), ratio=st.floats(-50, 50))
def test_posterior_is_a_probability_that_follows_prior_and_ratio(prior: float, ratio: float) -> None:
    value = posterior(prior, ratio)
    assert 0.0 <= value <= 1.0
    assert value <= posterior(prior, ratio + 1.0)
    if 0.0 < prior < 1.0:
        assert posterior(prior, 0.0) == pytest.approx(prior)


def test_posterior_keeps_certainty_and_refuses_what_is_no_probability() -> None:
    assert posterior(0.0, 30.0) == 0.0
    assert posterior(1.0, -30.0) == 1.0
    assert posterior(0.5, math.log(3.0)) == pytest.approx(0.75)
    for prior in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="prior"):
            posterior(prior, 0.0)


def test_ratio_is_clipped_to_what_the_sample_can_claim() -> None:
    assert log_likelihood_ratio(0.5, 2.0, 1.0, -5.0, 5.0) == 2.0
    assert log_likelihood_ratio(9.0, 2.0, 1.0, -5.0, 5.0) == 5.0
    assert log_likelihood_ratio(-9.0, 2.0, 1.0, -5.0, 5.0) == -5.0
