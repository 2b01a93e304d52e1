"""The table holds every figure, and marks what was chosen."""

from __future__ import annotations

from app.tuning.choice import Figure, Layout
from app.tuning.running import explanation
from app.tuning.table import table

DEFAULT, THREADED = Layout(2, 1), Layout(1, 2)
MEASURED = {
    DEFAULT: {"m@1.0.0": {1: Figure(100, 20), 2: Figure(120, 33.3)}},
    THREADED: {"m@1.0.0": {1: Figure(90, 11), 2: Figure(95, 21)}},
}


def test_each_figure_is_a_row_and_the_chosen_one_is_marked() -> None:
    rows = table(MEASURED, DEFAULT, {"m@1.0.0": 2}, {}).splitlines()
    assert len(rows) == 2 + 4
    assert "| m@1.0.0 | 1 x 2 | 1 | 90 | 11 |  |" in rows
    assert [row for row in rows if "chosen" in row] == ["| m@1.0.0 | 2 x 1 | 2 | 120 | 33.3 | chosen |"]


def test_buckets_follow_with_what_an_item_takes_and_whether_a_start_lets_the_batch_pass() -> None:
    buckets = {"m@1.0.0": {"16": Figure(400, 10), "128": Figure(60, 66)}}
    *_, short, long = table(MEASURED, DEFAULT, {"m@1.0.0": 2}, buckets).splitlines()
    assert short == "| m@1.0.0 | 2 x 1 | 2 | 400 | 10 | bucket 16: 5 ms an item |"
    assert long.endswith("| bucket 128: 33 ms an item; beyond 50 ms, a start takes smaller batches |")


def test_large_figures_are_written_out() -> None:
    row = table({DEFAULT: {"m@1.0.0": {32: Figure(31218.4, 1.0254)}}}, DEFAULT, {"m@1.0.0": 32}, {}).splitlines()[-1]
    assert "| 31218 | 1.03 |" in row


def test_explanation_says_why_the_default_stays_or_goes() -> None:
    assert "only one" in explanation(DEFAULT, DEFAULT, {DEFAULT: 1.0})
    assert "no other is faster" in explanation(DEFAULT, DEFAULT, {DEFAULT: 1.0, THREADED: 0.8})
    assert "1 x 2 reaches 1.04 times" in explanation(DEFAULT, DEFAULT, {DEFAULT: 1.0, THREADED: 1.04})
    assert "1 x 2, 1.30 times the default 2 x 1" in explanation(THREADED, DEFAULT, {DEFAULT: 1.0, THREADED: 1.3})
