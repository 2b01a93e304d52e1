"""The evaluator's figures on scores whose right answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.core.errors import TwinserveError
from app.core.evidence import GenuineScores, PairScores, Units
from model_export.comparing import Scores
from model_export.figures import compute_figures
from model_export.oneshot import hits_of_scores, one_shot_hits


def population(genuine: np.ndarray, impostor: np.ndarray, units: int = 40) -> Scores:
    a, b = np.triu_indices(units, 1)
    unit = np.arange(len(genuine)) % units
    return Scores(
        Units(units),
        GenuineScores(genuine.astype(np.float32), unit),
        {"random": PairScores(np.resize(impostor, len(a)).astype(np.float32), a, b)},
    )


def test_constant_encoder_scores_chance() -> None:
    figures = compute_figures(population(np.full(400, 0.5), np.full(780, 0.5)), draws=1000, seed=0)["all", "random"]
    assert figures.auc.value == pytest.approx(0.5)
    assert figures.fnmr_at[1e-1] is not None
    assert figures.fnmr_at[1e-1].value == 1.0


def test_random_encoder_scores_chance() -> None:
    rng = np.random.default_rng(0)
    figures = compute_figures(population(rng.random(4000), rng.random(780)), draws=1000, seed=0)["all", "random"]
    assert figures.auc.low <= 0.5 <= figures.auc.high
    assert figures.eer.value == pytest.approx(0.5, abs=0.03)


def test_separated_scores_are_perfect() -> None:
    rng = np.random.default_rng(0)
    figures = compute_figures(population(0.8 + 0.1 * rng.random(400), 0.1 * rng.random(780)), draws=1000, seed=0)[
        "all", "random"
    ]
    assert figures.auc.value == pytest.approx(1.0)
    assert figures.eer.value == pytest.approx(0.0, abs=1e-6)


def test_eer_of_two_gaussians_is_that_of_theory() -> None:
    rng = np.random.default_rng(0)
    figures = compute_figures(
        population(rng.normal(2.0, 1.0, 40_000), rng.normal(0.0, 1.0, 19_900), units=200), draws=1000, seed=0
    )["all", "random"]
    assert figures.eer.value == pytest.approx(0.1587, abs=0.01)  # Phi(-1)
    assert figures.auc.value == pytest.approx(0.9214, abs=0.01)  # Phi(2 / sqrt(2))


def test_fnmr_beyond_the_sample_is_refused() -> None:
    rng = np.random.default_rng(0)
    figures = compute_figures(population(rng.random(400), rng.random(780)), draws=1000, seed=0)["all", "random"]
    assert figures.fnmr_at[1e-3] is None  # 3 / 780 is above 1e-3
    assert figures.fnmr_at[1e-2] is not None


def test_each_kind_of_genuine_pairs_has_its_own_figures() -> None:
    rng = np.random.default_rng(0)
    scores = population(rng.normal(2.0, 1.0, 4000), rng.normal(0.0, 1.0, 780))
    easy = GenuineScores(scores.genuine.score[:2000] + 2, scores.genuine.unit[:2000])
    few = GenuineScores(scores.genuine.score[:20], scores.genuine.unit[:20])
    figures = compute_figures(replace(scores, kinds={"same_day": easy, "other_day": few}), draws=1000, seed=0)
    assert list(figures) == [("all", "random"), ("same_day", "random"), ("other_day", "random")]
    assert figures["same_day", "random"].eer.value < 0.6 * figures["all", "random"].eer.value
    assert figures["other_day", "random"].genuine_units == 20
    wide, narrow = figures["other_day", "random"].eer, figures["all", "random"].eer
    assert wide.high - wide.low > narrow.high - narrow.low


def test_one_shot_ties_count_as_wrong() -> None:
    assert not hits_of_scores(np.ones((5, 5), np.float32), np.arange(5)).any()


def test_constant_encoder_wins_no_one_shot_trial() -> None:
    constant = np.tile(np.array([[1.0, 0.0]], np.float32), (20, 1))
    assert not one_shot_hits(constant, constant, np.arange(20)).any()


def test_zero_vectors_are_refused_not_scored() -> None:
    with pytest.raises(TwinserveError):
        one_shot_hits(np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32), np.arange(2))
