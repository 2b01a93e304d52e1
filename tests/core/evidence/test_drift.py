"""Drift is what no other share of matches, nor of impostor types, explains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.core.evidence import Calibration, measure_drift, score_edges
from app.core.evidence.drift import FEWEST_SCORES
from tests.tiny import tiny_calibration

SHIFT, NOTHING = 0.25, 0.1
"""The conventional bounds of the index."""

Shares = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return tiny_calibration()


def draw(shares: Shares, many: int, seed: int = 1) -> list[float]:
    """Counts of scores drawn from these shares, none beyond the first and the last edge."""
    drawn = np.random.default_rng(seed).multinomial(many, shares / shares.sum())
    return [0.0, *drawn.astype(float).tolist(), 0.0]


def mixture(calibration: Calibration, matches: float) -> Shares:
    histogram = calibration.histogram
    return matches * np.array(histogram.genuine) + (1 - matches) * np.array(histogram.impostor["random"])


@pytest.mark.parametrize("matches", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("many", [FEWEST_SCORES, 20_000])
def test_any_share_of_matches_is_no_drift_and_is_told(calibration: Calibration, matches: float, many: int) -> None:
    drift = measure_drift(calibration, draw(mixture(calibration, matches), many))
    assert drift is not None
    assert drift.stability_index < NOTHING
    assert drift.match_share == pytest.approx(matches, abs=0.05)


@pytest.mark.parametrize("bins", [-8, -5, 5, 8])
@pytest.mark.parametrize("matches", [0.05, 0.5])
def test_scores_that_moved_are_drift(calibration: Calibration, bins: int, matches: float) -> None:
    moved = np.roll(mixture(calibration, matches), bins)
    drift = measure_drift(calibration, draw(moved, 20_000))
    assert drift is not None
    assert drift.stability_index > SHIFT


def test_scores_that_all_end_in_one_place_are_drift(calibration: Calibration) -> None:
    counts = [0.0] * (len(score_edges(calibration)) + 1)
    counts[0] = 2000.0  # below every score that was measured
    drift = measure_drift(calibration, counts)
    assert drift is not None
    assert drift.stability_index > 1


def test_another_share_of_impostor_types_is_no_drift(calibration: Calibration) -> None:
    """Where hard impostors were measured beside random ones, any mixture of the two is known."""
    histogram = calibration.histogram
    hard = np.roll(np.array(histogram.impostor["random"]), 8)
    both = histogram.model_copy(update={"impostor": {**histogram.impostor, "hard": tuple(hard.tolist())}})
    types = (*calibration.impostors, calibration.impostors[0].model_copy(update={"type": "hard"}))
    known = calibration.model_copy(update={"histogram": both, "impostors": types})
    counts = draw(0.1 * np.array(histogram.genuine) + 0.9 * hard, 20_000)
    told, unknown = measure_drift(known, counts), measure_drift(calibration, counts)
    assert told is not None
    assert unknown is not None
    assert told.stability_index < NOTHING < SHIFT < unknown.stability_index


def test_impostors_of_another_population_explain_nothing(calibration: Calibration) -> None:
    histogram = calibration.histogram
    hard = np.roll(np.array(histogram.impostor["random"]), 8)
    both = histogram.model_copy(update={"impostor": {**histogram.impostor, "hard": tuple(hard.tolist())}})
    external = calibration.impostors[0].model_copy(update={"type": "hard", "external": True, "population": "others"})
    known = calibration.model_copy(update={"histogram": both, "impostors": (*calibration.impostors, external)})
    drift = measure_drift(known, draw(hard, 20_000))
    assert drift is not None
    assert drift.stability_index > SHIFT


def test_evidence_without_genuine_pairs_has_no_share_of_matches(calibration: Calibration) -> None:
    histogram = calibration.histogram
    empty = histogram.model_copy(update={"genuine": tuple(0.0 for _ in histogram.genuine)})
    bare = calibration.model_copy(update={"histogram": empty})
    drift = measure_drift(bare, draw(mixture(calibration, 0.0), 20_000))
    assert drift is not None
    assert drift.match_share == 0.0
    assert drift.stability_index < NOTHING


def test_few_scores_say_nothing(calibration: Calibration) -> None:
    assert measure_drift(calibration, draw(mixture(calibration, 0.5), FEWEST_SCORES - 1)) is None


def test_counts_of_other_bins_are_refused(calibration: Calibration) -> None:
    with pytest.raises(ValueError, match="51 edges make 52 bins"):
        measure_drift(calibration, [1.0] * 51)
