"""The worked example for spoken words runs as its page says: scores, and no verdict but at one's own threshold."""

from __future__ import annotations

import pytest

from tests.examples.pages import assert_page_is_true, needs, read_page, run_example, verdicts

pytestmark = needs("digits")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("spoken-words", tmp_path_factory.mktemp("spoken-words"))


def test_a_demonstration_decides_at_the_callers_threshold_only_and_silence_is_refused(output: str) -> None:
    expected = ["undetermined", "match", "no_match", "operating_point_unavailable", "unusable_input"]
    assert verdicts(output) == expected
    assert output.count("because insufficient_evidence") == 3
    assert "notice: resampled /b" in output


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("spoken-words"), output, numbers=False)
