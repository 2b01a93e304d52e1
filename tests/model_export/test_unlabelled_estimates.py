"""What is told without labels, beside what is true: on made vectors, and on real sets whose labels are hidden."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from app.core.evidence import ImpostorCurve
from app.core.evidence.bounds import Bounded
from app.core.evidence.calibration import ImpostorType
from model_export.recipe import read_recipe
from model_export.results.__main__ import main
from model_export.results.unlabelled import Labelled, Trial, embed_others, try_once
from model_export.subjects import LocalSubject
from model_export.unlabelled.alike import RandomPairs
from model_export.unlabelled.hidden import claim_random, count_standing_out
from tests.model_export.pair_tables import write_pictures
from tests.tiny import write_tiny

ROOT = Path(__file__).parents[2]


def made(identities: int, each: int, noise: float, seed: int = 0) -> Labelled:
    """Unit vectors of 24 numbers, `each` around a centre of its own."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((identities, 24)), each, axis=0)
    rows = rows + noise * rng.standard_normal(rows.shape)
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Labelled("made", vectors, np.repeat(np.arange(identities), each), "cosine")


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Collections of 30 things, five items each, of an encoder that misses some."""
    rng = np.random.default_rng(5)
    return [try_once(made(80, 5, 0.9), 150, (50, 50, 50, 50), rng) for _ in range(2)]


def test_two_hundred_answers_tell_fnmr_and_its_interval_covers(trials: list[Trial]) -> None:
    kept = [told.fnmr for one in trials for told in one.told if told is not None]
    assert len(kept) >= 6
    assert np.sqrt(np.mean([(rate.value - true) ** 2 for rate, true in kept])) < 0.06
    assert np.mean([true for _, true in kept]) > 0.02
    assert sum(rate.low <= true <= rate.high for rate, true in kept) >= len(kept) - 1


def test_neighbours_that_items_share_tell_fnmr_of_an_encoder_that_misses_a_third() -> None:
    """Ten items a thing: by scores alone, one answering in sixteen told it."""
    one = try_once(made(60, 10, 1.2), 200, (50, 50, 50, 50), np.random.default_rng(5))
    kept = [told.fnmr for told in one.told if told is not None]
    assert len(kept) >= 3
    for rate, true in kept:
        assert true > 0.2
        assert rate.low <= true <= rate.high
        assert abs(rate.value - true) < 0.12


def test_fmr_of_other_identities_is_within_the_bound_that_hidden_matches_only_raise(trials: list[Trial]) -> None:
    for one in trials:
        assert one.random is not None
        rate, true = one.random
        assert true <= rate.high
        assert true < rate.value  # matches are in it


def test_a_weak_encoder_finds_too_few_matches_to_tell_fnmr() -> None:
    weak = try_once(made(200, 2, 2.5), 150, (50, 50), np.random.default_rng(5))
    assert set(weak.told) == {None}


def test_matches_that_stand_out_are_counted_and_strangers_are_not() -> None:
    rng = np.random.default_rng(1)
    strangers = rng.normal(0, 0.1, 100_000)
    matches = rng.normal(0.8, 0.05, 300)
    alone, both = (np.sort(x)[::-1].astype(np.float32) for x in (strangers, np.concatenate([strangers, matches])))
    assert count_standing_out(alone) < 30
    assert count_standing_out(both) == pytest.approx(300, abs=30)


def test_the_bound_of_fmr_allows_for_things_of_several_items() -> None:
    found = {"thresholds": (0.125, 0.25, 0.5), "value": (0.2, 0.08, 0.01), "low": (0.17, 0.07, 0.009)}
    curve = ImpostorCurve(impostor="random", k=1, aggregation="single", high=(0.23, 0.095, 0.011), **found)
    claimed = claim_random(drawn_together(curve, curve.high), 1000)
    (wider,) = claimed["impostor_curves"]
    share = 0.08 - np.linspace(0, 0.08, 20_000)  # what is left of 0.08 where that much matches
    worst = (share + 0.015 * np.sqrt(1 + (0.08 - share) * 999)).max()
    assert wider.high[1] == pytest.approx(worst, abs=1e-5)
    assert wider.high[2] == 0.011  # too narrow for any share of matches to make it worse
    assert [point.threshold for point in claimed["operating_points"]] == [0.5]
    assert claimed["defaults"] == {"random": "fmr_1e-1"}
    assert claim_random(drawn_together(curve, curve.high), 20)["impostor_curves"][0].high == curve.high


def test_the_bound_is_never_below_that_of_items_drawn_together() -> None:
    found = {"thresholds": (0.25, 0.5), "value": (0.08, 0.01), "low": (0.07, 0.009), "high": (0.095, 0.011)}
    curve = ImpostorCurve(impostor="random", k=1, aggregation="single", **found)
    (claimed,) = claim_random(drawn_together(curve, (0.15, 0.0105)), 20)["impostor_curves"]
    assert claimed.high == (0.15, 0.011)


def drawn_together(curve: ImpostorCurve, high: tuple[float, ...]) -> RandomPairs:
    value, low, highs = (np.array(side) for side in (curve.value, curve.low, high))
    kind = ImpostorType(type="random", description="any", unit_pairs=190)
    return RandomPairs(kind, curve, Bounded(value, low, highs, 0.0))


def test_the_command_prints_a_row_for_a_table_of_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tmp_path / "models", calibrated=False, status="demonstration")
    pairs = write_pictures(tmp_path / "table")
    asked = ["--items", "60", "--ask", "20", "20", "--repeats", "4"]
    assert main(["unlabelled", str(tmp_path / "models" / "tiny" / "1.0.0"), "--pairs", str(pairs), *asked]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[-3:]
    assert header.count("|") == row.count("|")
    assert row.startswith("| pairs.csv | 60 | 3.4 % | 1 of 1 |")


@pytest.mark.skipif("TWINSERVE_DATA" not in os.environ, reason="the real sets are not there (TWINSERVE_DATA)")
def test_real_signatures_whose_labels_are_hidden_are_told_truly() -> None:
    subject = LocalSubject(ROOT / "models" / "signatures" / "1.0.2")
    (dutch,) = embed_others(subject, read_recipe(ROOT / "recipes" / "signatures.toml"))
    one = try_once(dutch, 150, (50, 50, 50, 50), np.random.default_rng(5))
    told = [told.fnmr for told in one.told if told is not None]
    assert len(told) >= 2
    assert sum(not rate.low <= true <= rate.high for rate, true in told) <= 1  # 95 % intervals
    assert max(abs(rate.value - true) for rate, true in told) < 0.1
    assert one.random is not None
    assert one.random[1] <= one.random[0].high
