"""How pairs are sorted, and what the curve makes of it: shared neighbours, and deviates of those that do not match."""

from __future__ import annotations

import numpy as np
import pytest

from app.core.scoring import Float32
from model_export.unlabelled.curve import Answers, fit_curve
from model_export.unlabelled.frame import Frame, build_frame

THINGS, EACH = 20, 10
SHOWS = np.repeat(np.arange(THINGS), EACH)


def weak() -> Float32:
    """Unit vectors, ten of each thing, of an encoder that misses a third."""
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.standard_normal((THINGS, 24)), EACH, axis=0)
    rows = rows + 1.2 * rng.standard_normal(rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def frame() -> Frame:
    return build_frame(weak(), np.arange(len(SHOWS)), "cosine")


@pytest.fixture(scope="module")
def match(frame: Frame) -> np.ndarray:
    return np.asarray(SHOWS[frame.first] == SHOWS[frame.second])


def test_cells_hold_every_pair_once_in_its_bins(frame: Frame) -> None:
    assert len(frame) == frame.count.sum() == frame.edges[-1] == frame.shared_edges[-1] == 200 * 199 // 2
    assert np.array_equal(np.bincount(frame.cell), frame.count)
    for edges, place in ((frame.edges, frame.bin), (frame.shared_edges, frame.shared_bin)):
        assert np.array_equal(np.bincount(place, weights=frame.count), np.diff(edges))
    bins = frame.bin[frame.cell]
    assert (np.diff(bins) >= 0).all()  # pairs are in the order of their scores


def test_neighbours_in_common_tell_matches_among_pairs_of_one_score(frame: Frame, match: np.ndarray) -> None:
    low = frame.score < np.quantile(frame.score[~match], 0.8)
    shared = frame.shared_bin[frame.cell]
    own, others = shared[low & match], shared[low & ~match]
    assert len(own) > 50
    assert (own[:, np.newaxis] < others).mean() > 0.83  # half by a guess, 0.81 by direct neighbours
    score = frame.score[low & match]
    assert (score[:, np.newaxis] > frame.score[low & ~match]).mean() < 0.8


def test_items_of_a_known_unit_are_not_compared() -> None:
    frame = build_frame(weak(), SHOWS, "cosine")
    assert not (SHOWS[frame.first] == SHOWS[frame.second]).any()
    assert len(frame) == frame.shared_edges[-1] == 200 * 199 // 2 - THINGS * EACH * (EACH - 1) // 2


def test_nearness_of_those_that_do_not_match_is_a_standard_deviate_beyond_the_score(
    frame: Frame, match: np.ndarray
) -> None:
    asked = np.random.default_rng(2).choice(len(frame), 2000, replace=False)
    curve = fit_curve(frame, Answers(frame.cell[asked].astype(np.int64), match[asked].astype(np.float64)))
    nearness = curve.nearness[frame.cell]
    others = nearness[~match]
    assert others.mean() == pytest.approx(0.0, abs=0.1)
    assert others.std() == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(others, frame.score[~match])[0, 1] == pytest.approx(0.0, abs=0.1)
    assert nearness[match].mean() > 1.0


def test_chances_are_as_many_as_match(frame: Frame, match: np.ndarray) -> None:
    asked = np.random.default_rng(3).choice(len(frame), 3000, replace=False)
    curve = fit_curve(frame, Answers(frame.cell[asked].astype(np.int64), match[asked].astype(np.float64)))
    assert (curve.chance * frame.count).sum() == pytest.approx(match.sum(), rel=0.15)
