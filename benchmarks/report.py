"""Everything that one run measured, as plain values for the tables, the promises and the JSON file."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from benchmarks.parts.closed import Closed
from benchmarks.parts.costs import Cost
from benchmarks.parts.latency import Point
from benchmarks.parts.mixed import Mixed
from benchmarks.parts.overload import Overload
from benchmarks.subjects import BOUND, Measured


@dataclass(slots=True)
class Report:
    """One run. `about` says on what and when; `skipped` maps a part to the reason why it was not measured."""

    about: Mapping[str, str]
    closed: list[Closed] = field(default_factory=list)
    overload: list[Overload] = field(default_factory=list)
    mixed: Mixed | None = None
    latency: list[Point] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One subject at one number of connections, over all rounds.

    Medians, but for `pss_mb`, `errors`, `largest`, `beyond` and `verdicts`, which are the worst of, or summed over, the
    rounds. `of_bound` is the median of the rounds' own ratios, each of two measurements side by side.
    """

    subject: str
    connections: int
    rate: float
    of_bound: float
    latencies_ms: tuple[float | None, ...]
    p50_of_bound: float | None
    cpu_s: float | None
    load_cpu: float
    pss_mb: float
    errors: int
    largest: float
    beyond: int
    verdicts: int
    answers: int
    layout: str | None


def rows(closed: Closed) -> list[Row]:
    """The rows of one workload's table, by connections, in the order in which the subjects were first measured."""
    groups: dict[tuple[int, str], list[Measured]] = {}
    for one in (one for measured in closed.rounds for one in measured):
        groups.setdefault((one.connections, one.subject), []).append(one)
    order = {subject: place for place, (_, subject) in reversed(list(enumerate(groups)))}
    return [_row(groups[key], groups[key[0], BOUND]) for key in sorted(groups, key=lambda key: (key[0], order[key[1]]))]


def ratio(closed: Closed, subject: str, other: str, connections: int) -> float | None:
    """Throughput of one subject over another's, the median of the rounds' own ratios; None where either is missing."""
    rates: dict[str, list[float]] = {subject: [], other: []}
    for one in (one for measured in closed.rounds for one in measured):
        if one.connections == connections and one.subject in rates:
            rates[one.subject].append(one.rate)
    pairs = list(zip(rates[subject], rates[other], strict=True)) if rates[subject] and rates[other] else []
    return statistics.median(a / b for a, b in pairs) if pairs else None


def _row(measured: Sequence[Measured], bound: Sequence[Measured]) -> Row:
    first = measured[0]
    ratios = [one.rate / other.rate for one, other in zip(measured, bound, strict=True)]
    p50s = [(one.latencies_ms[0], other.latencies_ms[0]) for one, other in zip(measured, bound, strict=True)]
    differences = [one.difference for one in measured]
    return Row(
        first.subject,
        first.connections,
        rate=statistics.median(one.rate for one in measured),
        of_bound=statistics.median(ratios),
        latencies_ms=tuple(_median(one.latencies_ms[place] for one in measured) for place in range(3)),
        p50_of_bound=_median(a / b if a and b else None for a, b in p50s),
        cpu_s=_median(one.cpu_s for one in measured),
        load_cpu=statistics.median(one.load_cpu for one in measured),
        pss_mb=max(one.pss_mb for one in measured),
        errors=sum(one.errors for one in measured),
        largest=max(one.largest for one in differences),
        beyond=sum(one.beyond for one in differences),
        verdicts=sum(one.verdicts for one in differences),
        answers=sum(one.answers for one in differences),
        layout=first.layout,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def write_json(report: Report, path: Path) -> None:
    """Write every single measurement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(dataclasses.asdict(report), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
