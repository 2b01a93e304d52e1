"""The worked example for pen strokes runs as its page says: untimed series, normalisation declared."""

from __future__ import annotations

import re

import pytest

from tests.examples.pages import ROOT, assert_page_is_true, read_page, run_example, verdicts


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("pen-strokes", tmp_path_factory.mktemp("pen-strokes"))


def test_hands_are_told_apart_and_what_was_not_measured_is_noticed(output: str) -> None:
    assert verdicts(output) == ["undetermined", "match", "no_match", "undetermined", "invalid_request"]
    assert re.findall(r"because (\w+)", output) == ["uncalibrated", "outside_calibration"]


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("pen-strokes"), output)


def test_the_params_on_the_page_are_those_of_the_spec() -> None:
    spec = (ROOT / "examples" / "pen-strokes" / "spec.toml").read_text("utf-8")
    shown = re.search(r"```toml\n(.*?)```", read_page("pen-strokes"), re.DOTALL)
    assert shown
    assert shown[1] in spec
