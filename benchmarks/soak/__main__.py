"""Run for a stated time and print: requests, errors by code, wrong answers, memory over time, p99 over time.

Exit code 1 where an answer was wrong, where an error was not one that the faults explain, or where the service is not
ready in the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.bench import FULL, ROOT, Bench
from benchmarks.load import Loops, ask_each, drive
from benchmarks.processes import pss_mb
from benchmarks.samples import OK, Load, percentile
from benchmarks.servers import Server, status_of
from benchmarks.soak.faults import HUNG, KILLED, Faults
from benchmarks.soak.traffic import Ask, is_alike, requests
from benchmarks.wire import LOST, Answer

CONNECTIONS = 8
WINDOW_S = 10.0
LOST_A_WORKER = 2 * CONNECTIONS
"""What a worker that ended had in hand, and once more what was sent anew while its process was still ending."""
WATCHDOG_MS = 5000
"""Shorter than the default, so that a soak sees what a hung worker's callers see."""
SLOPE_WINDOWS = 20
"""So many windows at the least tell growth from the ups and downs of replaced workers."""
EXPLAINED = {LOST: "connection lost", 429: "overloaded", 503: "not ready"}
"""What a caller may get while workers are killed, and should retry."""


@dataclass(slots=True)
class Soak:
    """What was seen. `memory` and `p99` are of each window: its end in seconds, MB and ms."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)
    p99: list[tuple[float, float]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    ready: bool = False

    @property
    def held(self) -> bool:
        """Nothing wrong was answered, no more was lost than killed workers had in hand, and the service is ready."""
        explained = LOST_A_WORKER * (self.faults[KILLED] + self.faults[HUNG])
        return self.ready and not self.wrong and self.statuses[LOST] <= explained

    def add(self, load: Load, asks: Sequence[Ask], alone: Sequence[Answer]) -> None:
        """Count the answers of one window."""
        for one in load.samples:
            self.statuses[one.answer.status] += 1
            explained = one.answer.status in EXPLAINED
            if not explained and not is_alike(one.answer, alone[one.request], asks[one.request].tolerance):
                self.wrong[f"{asks[one.request].about}: {one.answer.status}"] += 1


def soak(server: Server, models: Path, minutes: float, every_s: float) -> Soak:
    """Ask round and round, with a fault every `every_s`; the service must have been started on `models`."""
    seen, asks = Soak(), requests(models)
    with server.awake():
        alone = ask_each(server.port, [ask.request for ask in asks])
        began = time.monotonic()
        with Faults(server.pid, server.port, every_s) as faults:
            while (now := time.monotonic() - began) < minutes * 60:
                loops = Loops([ask.request for ask in asks], CONNECTIONS)
                load = drive(server.port, min(WINDOW_S, minutes * 60 - now), loops=loops)
                seen.add(load, asks, alone)
                ended = time.monotonic() - began
                seen.memory.append((ended, pss_mb(server.pids)))
                seen.p99.append((ended, percentile(load.latencies_ms(), 99) or float("nan")))
                print(f"soak: {ended:.0f} s, {sum(seen.statuses.values())} requests", file=sys.stderr, flush=True)
            seen.faults = faults.made
        seen.ready = _becomes_ready(server.port)
    return seen


def _becomes_ready(port: int, within_s: float = 60.0) -> bool:
    """The last fault may have been a killed worker, or all of them one after another."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if status_of(port, "/health/ready") == OK:
            return True
        time.sleep(0.2)
    return False


def markdown(seen: Soak) -> str:
    """What was seen, line by line."""
    late = seen.memory[len(seen.memory) // 3 :]
    lines = [f"- requests: {sum(seen.statuses.values())}"]
    lines += [f"- answered {EXPLAINED.get(status, status)}: {count}" for status, count in sorted(seen.statuses.items())]
    lines += [f"- wrong answers: {sum(seen.wrong.values())}"]
    lines += [f"  - {about}: {count}" for about, count in seen.wrong.most_common()]
    lines += [f"- fault, {count} times: {name}" for name, count in seen.faults.items()]
    lines.append(f"- memory of all processes: {seen.memory[0][1]:.0f} MB first, {seen.memory[-1][1]:.0f} MB last")
    if len(late) >= SLOPE_WINDOWS:
        slope = np.polyfit([at / 3600 for at, _ in late], [mb for _, mb in late], 1)[0]
        lines.append(f"- memory slope after the first third: {slope:+.1f} MB an hour")
    third = max(1, len(seen.p99) // 3)
    first, last = (np.median([ms for _, ms in part]) for part in (seen.p99[:third], seen.p99[-third:]))
    lines.append(f"- p99 of windows of {WINDOW_S:g} s: {first:.0f} ms in the first third, {last:.0f} ms in the last")
    lines.append(f"- ready in the end: {'yes' if seen.ready else 'no'}")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print; see the module for the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Mixed traffic, with faults.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="seconds between faults")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="folder of bundles")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="twinserve-soak-") as folder:
        bench = Bench(options.models, Path(folder), Path(folder), Path(folder), FULL, cores=1)
        with bench.service(log_level="warning", watchdog_ms=WATCHDOG_MS) as server:
            seen = soak(server, options.models, options.minutes, options.every)
    print(markdown(seen), end="")
    return 0 if seen.held else 1


if __name__ == "__main__":
    sys.exit(main())
