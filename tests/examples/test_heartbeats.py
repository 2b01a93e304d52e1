"""The worked example for heartbeats runs as its page says: days, another rate, gaps filled and refused."""

from __future__ import annotations

import re

import pytest

from app.core.bundle.manifest import version_key
from tests.examples.pages import ROOT, assert_page_is_true, needs, read_page, run_example, verdicts

pytestmark = needs("heartbeat")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_example("heartbeats", tmp_path_factory.mktemp("heartbeats"))


def test_days_rates_and_short_gaps_keep_a_match_and_a_long_gap_is_refused(output: str) -> None:
    assert verdicts(output) == ["match", "match", "no_match", "match", "match", "unusable_input"]
    for notice in ("resampled /b", "interpolated /b", "windowed /a"):
        assert f"notice: {notice}" in output


def test_the_page_shows_what_runs_and_comes(output: str) -> None:
    assert_page_is_true(read_page("heartbeats"), output, numbers=False)


def test_same_day_and_other_day_are_told_apart_as_the_newest_card_does() -> None:
    newest = max((ROOT / "models" / "heartbeat").glob("*.*.*"), key=lambda folder: version_key(folder.name))
    card, page = ((newest / "MODEL_CARD.md").read_text("utf-8"), read_page("heartbeats"))
    for kind in ("same_day", "other_day"):
        measured, shown = (
            [cell.strip() for cell in row.strip("| ").split("|")]
            for row in (_row(card, rf"\| {kind} \| random .*$"), _row(page, rf"^\| `{kind}` \|.*$"))
        )
        assert shown[1] == measured[2]
        assert float(shown[2]) == pytest.approx(float(measured[5].split()[0]), abs=0.003)
        assert float(shown[3]) == pytest.approx(float(measured[7].split()[0]), abs=0.003)


def _row(text: str, pattern: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found
    return found[0]
