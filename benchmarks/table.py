"""A run as Markdown: what was measured on what, the tables, and the promises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.parts.closed import Closed
from benchmarks.parts.costs import PATIENCE, TARGET, UTILISATION, Cost
from benchmarks.parts.latency import Point
from benchmarks.parts.mixed import Mixed
from benchmarks.parts.overload import Overload
from benchmarks.promises import promises
from benchmarks.report import Report, Row, rows

CLOSED_HEAD = (
    "connections",
    "subject",
    "a second",
    "of the bound",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "CPU s a thousand",
    "MB",
    "errors",
    "largest difference",
    "beyond / verdicts",
    "load's CPU",
)


def markdown(report: Report) -> str:
    """The whole report."""
    lines = [f"- {name}: {value}" for name, value in report.about.items()]
    for closed in report.closed:
        lines += ["", f"### {closed.workload}: {closed.title}", "", *_closed(closed)]
    if report.overload:
        lines += ["", "### overload: single compares at three times the peak", "", *_overload(report.overload)]
    if report.mixed is not None:
        lines += ["", "### mixed: single compares beside bulk", "", *_mixed(report.mixed)]
    if report.latency:
        lines += ["", "### latency: single compares at rising rates, open loop", "", *_latency(report.latency)]
    if report.costs:
        lines += ["", "### costs: a compare by kind of input", "", *_costs(report.costs)]
    lines += [""] if report.skipped else []
    lines += [f"Not measured: {part}: {reason}." for part, reason in report.skipped.items()]
    lines += ["", "### promises", "", *_promises(report)]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in body)]


def _closed(closed: Closed) -> Iterator[str]:
    yield from table(CLOSED_HEAD, [_closed_row(row) for row in rows(closed)])
    layouts = [f"at {row.connections}: {row.layout}" for row in rows(closed) if row.layout is not None]
    yield ""
    yield f"The bound's layout {'; '.join(layouts)}."
    for name, reason in closed.missing:
        yield f"Not measured: {name}: {reason}."


def _closed_row(row: Row) -> list[str]:
    p50 = f" (p50 x{row.p50_of_bound:.2f})" if row.connections == 1 and row.p50_of_bound is not None else ""
    return [
        str(row.connections),
        row.subject,
        f"{row.rate:.1f}",
        f"{row.of_bound:.2f}{p50}",
        *(_number(value) for value in row.latencies_ms),
        _number(row.cpu_s),
        f"{row.pss_mb:.0f}",
        str(row.errors),
        f"{row.largest:.1e}",
        f"{row.beyond} / {row.verdicts} of {row.answers}",
        f"{row.load_cpu:.0%}",
    ]


def _overload(measured: Sequence[Overload]) -> list[str]:
    head = (
        "queue ms",
        "peak a second",
        "offered",
        "accepted",
        "of peak",
        "accepted p50 / p99 ms",
        "refused",
        "refused p50 / p99 ms",
        "within 5 ms",
        "Retry-After",
        "errors",
        "sent late, p99 ms",
        "load's CPU",
    )
    body = [
        [
            f"{one.queue_ms:g}",
            f"{one.peak:.0f}",
            f"{one.offered:.0f}",
            f"{one.accepted:.0f}",
            f"{one.accepted / one.peak:.2f}",
            f"{_number(one.accepted_p50_ms)} / {_number(one.accepted_p99_ms)}",
            str(one.refused),
            f"{_number(one.refused_p50_ms)} / {_number(one.refused_p99_ms)}",
            "-" if one.prompt is None else f"{one.prompt:.1%}",
            f"{', '.join(one.retry_after) or '-'}; {one.without_retry_after} without",
            str(one.errors),
            _number(one.lag_ms),
            f"{one.load_cpu:.0%}",
        ]
        for one in measured
    ]
    return table(head, body)


def _mixed(one: Mixed) -> list[str]:
    body = [
        [
            "single compares, p50 / p99 ms",
            _both(one.unloaded_p50_ms, one.unloaded_p99_ms),
            _both(one.loaded_p50_ms, one.loaded_p99_ms),
        ],
        ["bulk, pairs a second", f"{one.bulk_alone:.0f}", f"{one.bulk_beside:.0f}"],
    ]
    head = [f"{one.singles:.0f} single compares a second, {one.errors} errors", "each alone", "side by side"]
    return table(head, body)


def _costs(measured: Sequence[Cost]) -> list[str]:
    head = (
        "two of",
        "CPU ms",
        "prepare ms",
        "model ms",
        "rest ms",
        "a second, 1 worker",
        "all workers",
        "all / 1",
        "p50 alone ms",
        f"p99 at {UTILISATION:.0%} ms",
        "p99 / alone",
        f"cores for {TARGET:.0f} a second",
        f"load with p99 within {PATIENCE:g} x alone",
        f"cores for {TARGET:.0f} a second so",
        "errors",
    )
    body = []
    for one in measured:
        full = one.full
        share = full.prompt_share
        body.append(
            [
                one.title,
                _number(full.cpu_ms),
                _number(one.prepare_ms),
                _number(one.model_ms),
                _number(full.cpu_ms - one.prepare_ms - one.model_ms),
                _number(one.runs[min(one.runs)].rate),
                _number(full.rate),
                f"{one.scaling:.2f}",
                _number(full.alone_ms),
                _number(full.p99_ms[UTILISATION]),
                _number(full.slowest(UTILISATION)),
                _number(one.cores(UTILISATION)),
                "none" if share is None else f"{share:.0%}",
                _number(None if share is None else one.cores(share)),
                str(sum(run.errors for run in one.runs.values())),
            ]
        )
    return table(head, body)


def _latency(points: Sequence[Point]) -> list[str]:
    body = [
        [
            one.subject,
            f"{one.offered:.0f}",
            f"{one.answered:.0f}",
            _number(one.p50_ms),
            _number(one.p99_ms),
            str(one.refused),
            str(one.errors),
        ]
        for one in points
    ]
    return table(["subject", "offered a second", "answered", "p50 ms", "p99 ms", "refused", "errors"], body)


def _promises(report: Report) -> list[str]:
    said = {True: "yes", False: "**no**", None: "not measured"}
    body = [[one.says, one.wanted, one.measured, said[one.held]] for one in promises(report)]
    return table(["", "wanted", "measured", "held"], body)


def _both(left: float | None, right: float | None) -> str:
    return f"{_number(left)} / {_number(right)}"


def _number(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
