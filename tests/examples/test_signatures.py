"""The worked example for signatures on file runs as its page says, two types of impostor apart."""

from __future__ import annotations

import re

import pytest

from tests.examples.pages import assert_page_is_true, read_page, run_example, verdicts


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("signatures", tmp_path_factory.mktemp("signatures"))


def test_a_new_signature_matches_those_on_file_and_an_imitation_does_not(output: str) -> None:
    assert verdicts(output) == ["match", "no_match", "no_match", "match", "match"]


def test_more_imitations_than_other_signatures_pass_the_threshold_for_random_impostors(output: str) -> None:
    rates = re.findall(r"by type: random ([\d.]+), skilled ([\d.]+)", output)
    assert len(rates) == 5
    random, skilled = map(float, rates[2])
    assert skilled > random


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("signatures"), output)
