"""`python -m fuzz [NAME ...] [--runs N]`: N runs of atheris on each target, one after another; ends at a finding.

A finding is written to runs/fuzz/NAME/ beside what the fuzzer learned, and belongs into a test once it is mended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

RUNS = 20_000
SECONDS, MEMORY_MB, MOST_BYTES = 20, 2048, 65_536
"""Of one input: what is a finding beyond them, and the longest that is tried."""

with atheris.instrument_imports(include=["app", "PIL", "pydicom", "python_multipart", "soundfile"]):
    from fuzz.targets import NAMES, find_target


def main() -> int:
    """Each target in a process of its own, since the fuzzer ends its process."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each target (default: {RUNS})")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"), help="default: runs/fuzz")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.names) - set(NAMES)):
        parser.error(f"no target {unknown[0]}")
    if chosen.here:
        return _fuzz(chosen.names[0], chosen.runs, chosen.folder / chosen.names[0])
    for name in chosen.names or NAMES:
        print(f"{name}: {chosen.runs} runs", flush=True)
        command = [sys.executable, "-m", "fuzz", name, "--here", "--runs", str(chosen.runs)]
        if code := subprocess.call([*command, "--folder", str(chosen.folder)]):
            print(f"{name}: a finding, see {chosen.folder / name}", file=sys.stderr)
            return code
    return 0


def _fuzz(name: str, runs: int, folder: Path) -> int:
    learned = folder / "corpus"
    learned.mkdir(parents=True, exist_ok=True)
    target = find_target(name)
    for number, seed in enumerate(target.seeds):
        target.read(seed)
        (learned / f"seed-{number}").write_bytes(seed)
    options = {
        "runs": runs,
        "seed": 1,
        "max_len": MOST_BYTES,
        "timeout": SECONDS,
        "rss_limit_mb": MEMORY_MB,
        "verbosity": 0,
        "artifact_prefix": f"{folder}/",
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(learned)], target.read)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
