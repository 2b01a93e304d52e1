"""A soak asks every kind of request, tells right answers from wrong ones, and makes its faults on the real service."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.bench import FULL, Bench
from benchmarks.soak import __main__ as running
from benchmarks.soak.__main__ import Soak, markdown, soak
from benchmarks.soak.faults import HUNG, KILLED, workers
from benchmarks.soak.traffic import is_alike, requests
from benchmarks.wire import LOST, Answer


def answer(status: int = 200, **body: object) -> Answer:
    return Answer(status, orjson.dumps(body))


PAIR = answer(verdict="match", score=0.75, request_id="x")
PROBLEM = answer(422, code="unusable_input", pointer="/b", request_id="x")


@pytest.mark.parametrize(
    ("given", "alone", "alike"),
    [
        (answer(verdict="match", score=0.7500001, request_id="y"), PAIR, True),
        (answer(verdict="match", score=0.76), PAIR, False),
        (answer(verdict="no_match", score=0.75), PAIR, False),
        (answer(422, code="unusable_input", pointer="/b", request_id="y"), PROBLEM, True),
        (answer(422, code="unusable_input", pointer="/a"), PROBLEM, False),
        (answer(500, code="internal"), PAIR, False),
        (answer(embeddings=[[0.1, 0.2]]), answer(embeddings=[[0.1, 0.2000001]]), True),
        (answer(embeddings=[[0.1, 0.2]]), answer(embeddings=[[0.2, 0.1]]), False),
        (answer(embeddings=[[0.1, 0.2]]), answer(embeddings=[[0.1, 0.2], [0.1, 0.2]]), False),
        (answer(results=[{"error": {}}]), answer(results=[{"verdict": "match", "score": 0.5}]), False),
        (answer(best="a", references=[]), answer(best="b", references=[]), False),
    ],
)
def test_an_answer_is_held_against_the_one_given_alone(given: Answer, alone: Answer, alike: bool) -> None:
    assert is_alike(given, alone, 1e-5) is alike


def test_more_lost_than_killed_workers_had_in_hand_is_no_success() -> None:
    seen = Soak(ready=True)
    seen.faults[KILLED] = 1
    seen.statuses[LOST] = running.LOST_A_WORKER
    assert seen.held
    seen.statuses[LOST] += 1
    assert not seen.held


def test_a_soak_with_faults_ends_ready_and_without_a_wrong_answer(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "WINDOW_S", 1.0)
    bench = Bench(tiny_models, tmp_path, tmp_path, tmp_path, FULL, cores=1)
    with bench.service(workers=1, watchdog_ms=1000) as server:
        [first] = workers(server.pid)
        seen = soak(server, tiny_models, 0.15, every_s=0.3)
        assert workers(server.pid) not in ([], [first])
    assert (seen.wrong, seen.ready, seen.held) == ({}, True, True), (seen.statuses, seen.faults)
    assert seen.faults[KILLED] >= 1
    assert seen.faults[HUNG] >= 1
    assert {200, 404, 422} <= set(seen.statuses)
    report = markdown(seen)
    assert "- wrong answers: 0" in report
    assert "ready in the end: yes" in report


def test_every_kind_of_request_is_asked_of_a_bundle(tiny_models: Path) -> None:
    kinds = {ask.about.partition(" ")[2] for ask in requests(tiny_models) if ask.about.startswith("tiny@")}
    assert kinds == {"compare", "embed", "bulk", "match", "broken", "beyond the evidence"}
