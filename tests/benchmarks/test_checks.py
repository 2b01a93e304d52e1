"""Differences are found: scores, verdicts, missing pairs, shapes."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from benchmarks.checks import Given, differences, distinct_answers, join, read_answer
from benchmarks.samples import Load, Sample
from benchmarks.wire import LOST, Answer


def scores(*values: float, verdicts: tuple[str, ...] = ()) -> Given:
    return Given(np.array(values, np.float32), verdicts)


ALONE = [scores(0.5, 0.25, verdicts=("match", "no_match")), scores(0.75, 0.1, verdicts=("match", "no_match"))]


def test_equal_answers_do_not_differ() -> None:
    found = differences(list(enumerate(ALONE)), ALONE, 1e-5)
    assert (found.largest, found.beyond, found.verdicts, found.answers) == (0.0, 0, 0, 2)


def test_scores_beyond_the_guard_band_and_other_verdicts_are_counted() -> None:
    given = [
        (0, scores(0.5, 0.25 + 4e-6, verdicts=("match", "match"))),
        (1, scores(0.7501, 0.1, verdicts=("match",) * 2)),
    ]
    found = differences(given, ALONE, 1e-5)
    assert found.largest == pytest.approx(1e-4, rel=1e-2)
    assert (found.beyond, found.verdicts, found.answers) == (1, 2, 2)


def test_a_pair_that_failed_is_infinitely_far_and_never_a_number() -> None:
    body = orjson.dumps({"results": [{"score": 0.5, "verdict": "match"}, {"error": {"code": "unusable_input"}}]})
    found = differences([(0, read_answer(body))], ALONE, 1e-5)
    assert found.largest == float("inf")
    assert (found.beyond, found.verdicts) == (1, 1)


def test_a_missing_row_is_infinitely_far() -> None:
    alone = [Given(np.zeros((2, 3), np.float32))]
    assert differences([(0, Given(np.zeros((1, 3), np.float32)))], alone, 1e-5).beyond == 1


def test_answers_to_single_items_join_to_that_of_a_batch() -> None:
    single = [read_answer(orjson.dumps({"score": 0.5, "verdict": one})) for one in ("match", "no_match")]
    assert join(single).verdicts == ("match", "no_match")
    assert join(single).values.tolist() == [0.5, 0.5]


def test_a_load_gives_each_body_of_a_request_once_and_no_error() -> None:
    bodies = [(0, 200, 0.5), (0, 200, 0.5), (0, 200, 0.6), (1, 200, 0.5), (1, 429, 0.1), (1, LOST, 0.1)]
    samples = [
        Sample("closed", request, 0.0, 0.0, 1.0, Answer(status, orjson.dumps({"score": score})))
        for request, status, score in bodies
    ]
    found = distinct_answers(Load(samples, 0.0, 1.0, 0.0))
    assert [(request, round(float(given.values[0]), 3)) for request, given in found] == [(0, 0.5), (0, 0.6), (1, 0.5)]
