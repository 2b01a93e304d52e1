"""The worked example for faces runs as its page says: an ONNX file of ArcFace's shape, own pairs, a verdict."""

from __future__ import annotations

import pytest

from tests.examples.pages import assert_page_is_true, read_page, run_example, verdicts


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("faces", tmp_path_factory.mktemp("faces"))


def test_it_decides_once_calibrated_and_refuses_what_its_people_cannot_support(output: str) -> None:
    assert verdicts(output) == ["undetermined", "match", "no_match", "operating_point_unavailable"]
    assert "because uncalibrated" in output


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("faces"), output)


def test_what_must_be_known_is_on_the_page() -> None:
    page = read_page("faces")
    for words in ("random weights", "Alignment", "LFW only for measuring", "No verdict resists spoofing", "biometric"):
        assert words in page, words
