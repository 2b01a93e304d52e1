"""Drift is measured on the scores of a day and of all workers together, whoever is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from app.core.evidence import Calibration, score_edges
from app.telemetry import Drift, Telemetry, shared_registry
from app.telemetry.drift import HOUR_S
from tests.telemetry.test_metrics import value
from tests.tiny import tiny_calibration

MODEL = '{model="tiny@1.0.0"}'
COUNT = """
import json, sys
from pathlib import Path
from app.telemetry import Telemetry
given = json.load(sys.stdin)
telemetry = Telemetry.shared(Path(sys.argv[1]), int(sys.argv[2]))
telemetry.watch_scores("tiny@1.0.0", given["edges"])
for score in given["scores"]:
    telemetry.scored("tiny@1.0.0", score)
"""


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return tiny_calibration()


def scores(calibration: Calibration, kind: tuple[float, ...], many: int, seed: int = 1) -> list[float]:
    """Scores drawn in the middle of the bins, by these shares."""
    edges = np.array(score_edges(calibration))
    shares = np.array(kind)
    middles = (edges[:-1] + edges[1:]) / 2
    return [float(one) for one in np.random.default_rng(seed).choice(middles, many, p=shares / shares.sum())]


def serve(folder: Path, slot: int, calibration: Calibration, given: list[float]) -> None:
    """Be a worker in this slot that gives these scores, and die."""
    text = json.dumps({"edges": score_edges(calibration), "scores": given})
    command = [sys.executable, "-c", COUNT, str(folder), str(slot)]
    subprocess.run(command, input=text, text=True, check=True)


def test_workers_with_different_shares_of_matches_are_judged_together(tmp_path: Path, calibration: Calibration) -> None:
    """One that sees genuine pairs only and one that sees impostors only; and the sum is what the index is of."""
    histogram = calibration.histogram
    serve(tmp_path, 0, calibration, scores(calibration, histogram.genuine, 400))
    serve(tmp_path, 1, calibration, scores(calibration, histogram.impostor["random"], 1600))
    drift = Drift(lambda: {"tiny@1.0.0": calibration}, folder=tmp_path / "scores")
    body = generate_latest(shared_registry(tmp_path, drift=drift))
    assert value(body, f"twinserve_score_window{MODEL}") == 2000
    assert value(body, f"twinserve_score_match_share{MODEL}") == pytest.approx(0.2, abs=0.03)
    assert 0 < value(body, f"twinserve_score_drift{MODEL}") < 0.1


def test_only_the_last_day_counts_and_no_more_than_a_day_is_kept(tmp_path: Path, calibration: Calibration) -> None:
    now = 1_000_000 * HOUR_S
    clock = [now]
    folder = tmp_path / "scores"
    drift = Drift(lambda: {"tiny@1.0.0": calibration}, folder=folder, clock=lambda: clock[0])
    registry = shared_registry(tmp_path, drift=drift)
    good = scores(calibration, calibration.histogram.impostor["random"], 1000)
    serve(tmp_path, 0, calibration, good)
    assert value(generate_latest(registry), f"twinserve_score_drift{MODEL}") < 0.1
    for _ in range(50):
        clock[0] += HOUR_S
        generate_latest(registry)
    assert len(list(folder.iterdir())) <= 27
    body = generate_latest(registry)
    assert value(body, f"twinserve_score_window{MODEL}") == 0
    assert b"twinserve_score_drift{" not in body
    low = score_edges(calibration)[0] - 0.1
    serve(tmp_path, 1, calibration, [low] * 1000)
    assert value(generate_latest(registry), f"twinserve_score_drift{MODEL}") > 1
    clock[0] += 25 * HOUR_S
    generate_latest(registry)
    clock[0] += 25 * HOUR_S
    assert value(generate_latest(registry), f"twinserve_score_window{MODEL}") == 0


def test_whoever_is_asked_first_in_an_hour_speaks_for_all(tmp_path: Path, calibration: Calibration) -> None:
    clock = [5000 * HOUR_S]
    serve(tmp_path, 0, calibration, scores(calibration, calibration.histogram.genuine, 700))

    def registry() -> bytes:
        drift = Drift(lambda: {"tiny@1.0.0": calibration}, folder=tmp_path / "scores", clock=lambda: clock[0])
        return generate_latest(shared_registry(tmp_path, drift=drift))

    assert value(registry(), f"twinserve_score_window{MODEL}") == 700
    clock[0] += 24 * HOUR_S
    assert value(registry(), f"twinserve_score_window{MODEL}") == 0


def test_folder_that_cannot_be_written_takes_no_metric_along(tmp_path: Path, calibration: Calibration) -> None:
    serve(tmp_path, 0, calibration, scores(calibration, calibration.histogram.genuine, 600))
    (tmp_path / "scores").write_text("a file in its place")
    drift = Drift(lambda: {"tiny@1.0.0": calibration}, folder=tmp_path / "scores")
    body = generate_latest(shared_registry(tmp_path, drift=drift))
    assert value(body, f"twinserve_score_window{MODEL}") == 600


def test_a_model_without_evidence_or_with_other_bins_has_no_drift(tmp_path: Path, calibration: Calibration) -> None:
    serve(tmp_path, 0, calibration, [0.5] * 1000)
    edges = (-1.0, 0.0, 1.0)
    shares = {"edges": edges, "genuine": (0.5, 0.5), "impostor": {"random": (0.5, 0.5)}}
    other = calibration.model_copy(update={"histogram": calibration.histogram.model_copy(update=shares)})
    for served in ({}, {"tiny@1.0.0": other}):
        drift = Drift(lambda served=served: served)  # type: ignore[misc]
        assert b"twinserve_score_drift{" not in generate_latest(shared_registry(tmp_path, drift=drift))


def test_model_that_comes_back_with_other_bins_is_counted_in_those() -> None:
    telemetry = Telemetry()
    for edges in ((0.0, 1.0), (0.0, 1.0), (-1.0, 0.25, 2.0)):
        telemetry.watch_scores("one@1.0.0", edges)
        telemetry.scored("one@1.0.0", 0.5)
    body, _ = telemetry.exposition()
    assert value(body, 'twinserve_score_bucket{le="2.0",model="one@1.0.0"}') == 1
    assert b'le="1.0"' not in body


def test_scores_of_one_process_alone_are_shown_in_one_family() -> None:
    telemetry = Telemetry()
    telemetry.watch_scores("one@1.0.0", (0.0, 1.0))
    telemetry.watch_scores("two@1.0.0", (-2.0, 0.0))
    telemetry.scored("one@1.0.0", 0.5)
    telemetry.scored("two@1.0.0", -0.5)
    body, _ = telemetry.exposition()
    assert body.count(b"# TYPE twinserve_score histogram") == 1
    assert value(body, 'twinserve_score_bucket{le="1.0",model="one@1.0.0"}') == 1
    assert value(body, 'twinserve_score_bucket{le="0.0",model="two@1.0.0"}') == 1
