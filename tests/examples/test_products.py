"""The worked example for product listings runs as its page says, on invented listings in the benchmarks' form."""

from __future__ import annotations

import re

import pytest

from tests.examples.pages import assert_page_is_true, load_example, needs, read_page, run_example

pytestmark = needs("questions")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("products", tmp_path_factory.mktemp("products"))


def test_f1_and_both_errors_are_told_at_an_error_rate_and_at_the_best_threshold(output: str) -> None:
    found = re.findall(r"F1 of the match class: ([\d.]+)\n  FMR: ([\d.]+), .*\n  FNMR: ([\d.]+),", output)
    assert len(found) == 2
    for f1, fmr, fnmr in found:
        assert 0 < float(f1) <= 1
        assert float(fmr) < 0.5
        assert float(fnmr) < 1


def test_records_that_recur_between_splits_are_counted(output: str) -> None:
    assert "100.0% of the records in test pairs are in train pairs too" in output


def test_f1_is_that_of_hits_and_misses() -> None:
    made = load_example("products")
    pairs = [{"label": 1}, {"label": 1}, {"label": 0}, {"label": 0}]
    assert made["f1"]([True, False, True, False], pairs) == 0.5
    assert made["best_threshold"]([0.9, 0.7, 0.8, 0.1], pairs) == 0.7


def test_a_pair_of_texts_labelled_both_ways_is_left_out() -> None:
    made = load_example("products")
    one, other, third = ({"name": name, "price": "1"} for name in "xyz")
    pairs = [
        {"a": one, "b": other, "label": 1},
        {"a": other, "b": {**one, "price": "2"}, "label": 0},
        {"a": one, "b": third, "label": 0},
    ]
    assert made["without_contradictions"](pairs) == pairs[2:]


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("products"), output, numbers=False)
