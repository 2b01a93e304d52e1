"""The arithmetic of tables and promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.checks import Difference
from benchmarks.parts.closed import SERVICE, Closed
from benchmarks.parts.costs import Cost, Run
from benchmarks.parts.latency import Point
from benchmarks.parts.mixed import Mixed
from benchmarks.parts.overload import Overload
from benchmarks.plot import can_plot, plot_latency
from benchmarks.promises import Promise, promises
from benchmarks.report import Report, ratio, rows, write_json
from benchmarks.samples import Load, Sample, percentile
from benchmarks.subjects import BOUND, Measured
from benchmarks.table import markdown, table
from benchmarks.wire import Answer

SAME = Difference(0.0, 0, 0, 8)


def measured(subject: str, connections: int, rate: float, p50_ms: float, **changes: object) -> Measured:
    fields = {"cpu_s": 2.0, "load_cpu": 0.1, "pss_mb": 100.0, "errors": 0, "difference": SAME, **changes}
    return Measured(subject, "glyphs", connections, rate, (p50_ms, 2 * p50_ms, None), **fields)  # type: ignore[arg-type]


def closed() -> Closed:
    """Three rounds on a machine that grows slower, in which the service keeps 0.9 of the bound but once."""
    rounds = [
        [measured(BOUND, 4, bound, 1.0, layout="2 x 1"), measured(SERVICE, 4, service, 1.5, errors=errors)]
        for bound, service, errors in ((1000.0, 900.0, 0), (500.0, 450.0, 2), (100.0, 10.0, 0))
    ]
    return Closed("glyphs", "compare", rounds, [("LitServe", "not installed")])


def test_ratios_are_of_a_round_and_the_median_is_of_the_ratios() -> None:
    bound, service = rows(closed())
    assert (bound.subject, bound.of_bound, bound.rate, bound.layout) == (BOUND, 1.0, 500.0, "2 x 1")
    assert (service.subject, service.rate) == (SERVICE, 450.0)
    assert service.of_bound == pytest.approx(0.9)  # the ratio of the medians happens to be the same; of means it is not
    assert service.p50_of_bound == pytest.approx(1.5)
    assert service.latencies_ms == (1.5, 3.0, None)
    assert ratio(closed(), SERVICE, BOUND, 4) == pytest.approx(0.9)
    assert ratio(closed(), SERVICE, BOUND, 16) is None
    assert ratio(closed(), SERVICE, "nobody", 4) is None


def test_errors_add_up_and_the_worst_memory_and_difference_are_shown() -> None:
    found = closed()
    found.rounds[2][1] = measured(SERVICE, 4, 10.0, 1.5, pss_mb=300.0, difference=Difference(0.5, 1, 2, 8))
    service = rows(found)[1]
    assert (service.errors, service.pss_mb, service.largest) == (2, 300.0, 0.5)
    assert (service.beyond, service.verdicts, service.answers) == (1, 2, 24)


def overload(**changes: object) -> Overload:
    fields: dict[str, object] = {
        "queue_ms": 250.0, "peak": 100.0, "offered": 300.0, "accepted": 96.0,
        "accepted_p50_ms": 300.0, "accepted_p99_ms": 500.0, "refused": 200, "refused_p50_ms": 1.0,
        "refused_p99_ms": 4.0, "prompt": 0.995, "without_retry_after": 0, "retry_after": ("1",),
        "errors": 0, "lag_ms": 0.5, "load_cpu": 0.2, "difference": SAME,
    }  # fmt: skip
    return Overload(**(fields | changes))  # type: ignore[arg-type]


def held(report: Report) -> dict[str, bool | None]:
    return {one.says: one.held for one in promises(report)}


def test_promises_are_held_at_their_bound_and_not_below() -> None:
    report = Report({}, overload=[overload(accepted=95.0)], mixed=Mixed(30.0, 2.0, 10.0, 5.0, 110.0, 100.0, 80.0, 0))
    assert set(held(report).values()) == {True}
    report = Report({}, overload=[overload(accepted=94.9)], mixed=Mixed(30.0, 2.0, 10.0, 5.0, 110.1, 100.0, 79.9, 0))
    assert [says for says, kept in held(report).items() if not kept] == [
        "overload, queue of 250 ms: accepted over peak",
        "p99 of single compares beside bulk, ms",
        "bulk beside single compares, over bulk alone",
    ]


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"accepted_p99_ms": 501.0}, "p99 of the accepted"),
        ({"prompt": 0.98}, "refusals within 5 ms"),
        ({"without_retry_after": 1}, "without Retry-After"),
        ({"errors": 1}, "errors"),
        ({"difference": Difference(1.0, 1, 0, 8)}, "wrong answers"),
    ],
)
def test_each_part_of_the_overload_promise_can_be_broken(changes: dict[str, object], broken: str) -> None:
    [promise] = [one for one in promises(Report({}, overload=[overload(**changes)])) if not one.held]
    assert broken in promise.says


def test_a_cost_tells_the_cores_of_a_thousand_a_second_and_how_workers_add_up(tmp_path: Path) -> None:
    run = Run(rate=300.0, cpu_ms=7.0, alone_ms=4.0, p99_ms={0.7: 20.0}, errors=0)
    cost = Cost("drawings", 1.5, 2.5, {1: replace(run, rate=200.0, p99_ms={}), 2: run})
    assert cost.full == run
    assert (cost.cores(0.7), cost.scaling) == pytest.approx((10.0, 1.5))
    report = Report({}, costs=[cost])
    [row] = [line for line in markdown(report).splitlines() if line.startswith("| drawings |")]
    assert row.split(" | ")[1:5] == ["7", "1.5", "2.5", "3"]  # the rest is HTTP, queue and judging
    assert set(held(report).values()) == {True}
    late = replace(run, p99_ms={0.7: 20.1})
    assert set(held(Report({}, costs=[replace(cost, runs={1: late})])).values()) == {False}
    write_json(report, tmp_path / "bench.json")
    assert orjson.loads((tmp_path / "bench.json").read_bytes())["costs"][0]["runs"]["2"]["rate"] == 300.0


def test_where_the_slowest_wait_too_long_the_load_is_told_at_which_they_do_not() -> None:
    run = Run(rate=300.0, cpu_ms=7.0, alone_ms=4.0, p99_ms={0.7: 30.0, 0.6: 20.1, 0.5: 20.0}, errors=0)
    report = Report({}, costs=[Cost("drawings", 1.5, 2.5, {2: run})])
    [row] = [line for line in markdown(report).splitlines() if line.startswith("| drawings |")]
    assert row.split(" | ")[-6:-1] == ["30", "7.5", "10", "50%", "14"]
    assert set(held(report).values()) == {False}  # what was promised is promised at 70 %
    never = replace(run, p99_ms={0.7: 30.0, 0.1: None})
    assert never.prompt_share is None


def test_efficiency_and_errors_of_the_service_are_promises() -> None:
    found = held(Report({}, closed=[closed()]))
    assert found == {
        "glyphs, 4 connections: throughput over the bound's": False,
        "glyphs, 4 connections: errors, and answers unlike those alone": False,
    }
    assert promises(Report({}, closed=[closed()]))[0] == Promise(
        "glyphs, 4 connections: throughput over the bound's", "at least 0.95", "0.9", False
    )


def test_the_report_shows_every_part_and_why_something_is_missing(tmp_path: Path) -> None:
    points = [Point("service", 100.0, 99.0, 2.0, None, 0, 1)]
    mixed = Mixed(30.0, 2.0, 10.0, 5.0, 110.0, 100.0, 80.0, 0)
    report = Report({"date": "today"}, [closed()], [overload()], mixed, points, {"texts": "models holds no MiniLM"})
    text = markdown(report)
    assert "| 4 | service | 450.0 | 0.90 | 1.5 | 3 | - | 2 | 100 | 2 | 0.0e+00 | 0 / 0 of 24 | 10% |" in text
    assert "Not measured: LitServe: not installed." in text
    assert "Not measured: texts: models holds no MiniLM." in text
    assert "| service | 100 | 99 | 2 | - | 0 | 1 |" in text
    assert "| bulk, pairs a second | 100 | 80 |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| 4 |")}
    assert len(widths) == 1
    write_json(report, tmp_path / "deep" / "bench.json")
    assert orjson.loads((tmp_path / "deep" / "bench.json").read_bytes())["closed"][0]["rounds"][0][0]["rate"] == 1000.0


def test_the_plot_is_drawn_where_something_was_not_answered(tmp_path: Path) -> None:
    if not can_plot():
        pytest.skip("matplotlib is not installed")
    plot_latency(
        [Point("service", 10.0, 10.0, 2.0, 3.0, 0, 0), Point("service", 99.0, 0.0, None, None, 99, 0)],
        tmp_path / "a.png",
    )
    assert (tmp_path / "a.png").stat().st_size > 1000


def sample(due: float, done: float, status: int = 200) -> Sample:
    return Sample("open", 0, due, due + 0.001, done, Answer(status))


def test_latency_counts_from_due_and_what_is_due_in_the_window_counts() -> None:
    load = Load(
        [sample(0.5, 1.5), sample(1.0, 1.25), sample(1.5, 9.0), sample(1.6, 1.7, 500), sample(2.0, 2.1)], 1.0, 2.0, 0.0
    )
    assert load.latencies_ms().tolist() == [250.0, 7500.0]
    shares = [
        0.5 / 0.999,
        1.0,
        0.499 / 7.499,
    ]  # of the time since it was sent, what lies in the window; errors count for 0
    assert load.rate == pytest.approx(sum(shares))
    assert load.errors == 1
    assert load.lags_ms() == pytest.approx([1.0, 1.0, 1.0])


def test_percentiles_are_measured_values_and_none_of_none() -> None:
    values = np.arange(1.0, 101.0)
    assert [percentile(values, share) for share in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile(values[:0], 99) is None


def test_a_table_has_a_rule_under_its_head() -> None:
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
