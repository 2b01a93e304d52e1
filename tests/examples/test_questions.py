"""The worked example for duplicate questions runs as its page says, on pairs written for the project."""

from __future__ import annotations

import csv

import pytest

from tests.examples.pages import ROOT, assert_page_is_true, needs, read_page, run_example, verdicts

pytestmark = needs("questions")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("questions", tmp_path_factory.mktemp("questions"))


def test_questions_in_no_row_are_told_apart_and_too_strict_a_rate_is_refused(output: str) -> None:
    assert verdicts(output) == ["match", "no_match", "no_match", "operating_point_unavailable"]


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("questions"), output, numbers=False)


def test_no_question_is_both_alike_and_not() -> None:
    with (ROOT / "examples" / "questions" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {frozenset((row["a"], row["b"])): row["label"] for row in rows}
    assert len(labels) == len(rows)
    assert {row["impostor"] for row in rows} == {"", "hard", "random"}
