"""`python -m benchmarks`: run the parts, print Markdown on stdout and progress on stderr, and write a JSON file."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import onnxruntime

from benchmarks.bench import FULL, QUICK, ROOT, Bench, UnmeasuredError
from benchmarks.parts import closed, costs, latency, mixed, overload
from benchmarks.plot import can_plot, plot_latency
from benchmarks.report import Report, write_json
from benchmarks.servers import Server, ServerError
from benchmarks.table import markdown
from benchmarks.workloads import WORKLOADS, costed

PARTS = (*WORKLOADS, "overload", "mixed", "latency", "costs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code is 0 even where a promise is not held: this measures, it does not judge a change."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="twinserve-bench-") as folder:
        effort = QUICK if options.quick else FULL
        cores = len(os.sched_getaffinity(0))
        bench = Bench(options.models, options.peers, options.weights, options.logs or Path(folder), effort, cores)
        bench.logs.mkdir(parents=True, exist_ok=True)
        try:
            report = _run(bench, options.only or PARTS)
        except ServerError as error:
            print(f"benchmarks: the service did not start: {error}", file=sys.stderr)
            return 1
    write_json(report, options.out)
    if report.latency and can_plot():
        plot_latency(report.latency, options.out.with_suffix(".png"))
    print(markdown(report), end="")
    return 0


def _run(bench: Bench, parts: Sequence[str]) -> Report:
    began = time.monotonic()
    with bench.service() as server:
        report = Report(_about(bench, server))
        for part in PARTS:
            if part not in parts:
                continue
            try:
                _measure(part, bench, server, report)
            except UnmeasuredError as error:
                report.skipped[part] = str(error)
            except ServerError as error:
                report.skipped[part] = f"a server did not start: {error}"
    say(f"took {time.monotonic() - began:.0f} s")
    return report


def _measure(part: str, bench: Bench, server: Server, report: Report) -> None:
    match part:
        case "overload":
            report.overload = overload.measure(WORKLOADS["glyphs"](), bench, say)
        case "mixed":
            say("mixed")
            report.mixed = mixed.measure(WORKLOADS["glyphs"](), WORKLOADS["pairs"](), bench, server)
        case "latency":
            report.latency = latency.measure(WORKLOADS["glyphs"](), bench, server, say)
        case "costs":
            report.costs, missing = costs.measure(WORKLOADS["glyphs"](), costed(), bench, say)
            report.skipped.update(missing)
        case workload:
            report.closed.append(closed.measure(WORKLOADS[workload](), bench, server, say))


def _about(bench: Bench, server: Server) -> dict[str, str]:
    effort = bench.effort
    busy = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {bench.cores} cores; load averages at the start {busy}",
        "software": f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}",
        "measured": f"{effort.rounds} rounds of {effort.seconds:g} s{', --quick' if effort.quick else ''}",
        "service": f"ready after {server.ready_s:.1f} s",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _stop(number: int, _frame: object) -> NoReturn:
    """Leave through every `finally`, so that no server is left behind."""
    raise SystemExit(128 + number)


def say(line: str) -> None:
    """One line of progress."""
    print(f"benchmarks: {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the service beside its bound.")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be repeated")
    parser.add_argument("--quick", action="store_true", help="about a minute or two: short, one round, few peers")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of bundles")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers", help="what make bench-peers installed")
    parser.add_argument("--weights", type=Path, default=ROOT / "runs" / "minilm", help="MiniLM for infinity-emb")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "bench.json", help="JSON file; a plot lies beside it"
    )
    parser.add_argument("--logs", type=Path, help="folder for what the servers print; default: a temporary one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
