"""Medical pictures, from DICOM files to a verdict with measured error rates: everything in docs/examples/medical.md.

    python examples/medical/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The patients are invented and the encoder has random weights: nothing here is
for clinical use.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from make import NEW, make, scan

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WAIT_S = 60.0

WARNING = """\
The encoder is a stand-in with random weights, and the patients are invented: the figures say nothing of a real encoder.
Embeddings of medical pictures can identify patients: treat them as personal data, as you treat the pictures.
Not for clinical use."""


def main(folder: Path) -> None:
    """Make the inputs, import the encoder, compare, calibrate, compare again."""
    print(WARNING)
    make(folder)
    models = folder / "models"
    command("import", "onnx", folder / "encoder.onnx", "--spec", HERE / "spec.toml", "--out", models)
    with service(models, folder / "service.log") as url:
        compare(url, folder, scan(NEW[0], 0), scan(NEW[0], 1))
    words = ("--population", "slices of invented chests, two visits each", "--unit", "patient")
    impostor = ("--impostor", "another invented patient")
    command("calibrate", models / "chests" / "1.0.0", "--pairs", folder / "pairs.csv", *words, *impostor)
    with service(models, folder / "service.log") as url:
        compare(url, folder, scan(NEW[0], 0), scan(NEW[0], 1))
        compare(url, folder, scan(NEW[0], 0), scan(NEW[1], 0))


def command(*arguments: str | Path) -> None:
    """Run `python -m model_export`; its own words are shown, and its failure ends the example."""
    print(f"\n$ python -m model_export {shlex.join(map(str, arguments))}", flush=True)
    done = subprocess.run([sys.executable, "-m", "model_export", *map(str, arguments)], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def compare(url: str, folder: Path, a: str, b: str) -> dict[str, Any]:
    """POST two files to /compare and show what a reader looks at first."""
    print(f"\n$ curl {url}/compare -F 'a=@{a};type=application/dicom' -F 'b=@{b};type=application/dicom'")
    parts = {side: (None, (folder / name).read_bytes(), "application/dicom") for side, name in (("a", a), ("b", b))}
    answer = httpx.post(f"{url}/compare", files=parts, timeout=WAIT_S)
    if answer.status_code != httpx.codes.OK:
        sys.exit(f"{answer.status_code}: {answer.text}")
    found: dict[str, Any] = answer.json()
    print(f"verdict: {found['verdict']}, score: {found['score']:.4f}")
    for reason in found["reasons"]:
        print(f"  because {reason['code']}: {reason['detail']}")
    if point := found["operating_point"]:
        for name, meaning in (("fmr", "different patients called a match"), ("fnmr", "one patient called no match")):
            rate = point[name]
            print(f"  {meaning}: {rate['value']:.3f} (95 %: {rate['low']:.3f} to {rate['high']:.3f})")
    return found


@contextmanager
def service(models: Path, log: Path) -> Iterator[str]:
    """Serve a folder of bundles with one worker on a free port; gives its address once it is ready."""
    # Settings of the caller's own service are not this one's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    flags = ["--models", str(models), "--port", "0", "--workers", "1"]
    print(f"\n$ python -m app --models {models}")
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "app", *flags], stderr=file, env=environment, cwd=ROOT)
    try:
        yield _ready(process, log)
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        if listening := re.search(r"listening on (\S+)", log.read_text()):
            url = listening.group(1)
            try:
                if httpx.get(f"{url}/health/ready").is_success:
                    return url
            except httpx.TransportError:
                pass  # not yet
        time.sleep(0.1)
    sys.exit(f"the service did not start: see {log}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="twinserve-medical-") as temporary:
            main(Path(temporary))
