"""Medical pictures, from DICOM files to a verdict with measured error rates: everything in docs/examples/medical.md.

    python examples/medical/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The patients are invented and the encoder has random weights: nothing here is
for clinical use.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from make import NEW, make, scan  # noqa: E402 - the line above makes it importable
from running import WAIT_S, command, run_in_folder, service  # noqa: E402

WARNING = """\
The encoder is a stand-in with random weights, and the patients are invented: the figures say nothing of a real encoder.
Embeddings of medical pictures can identify patients: treat them as personal data, as you treat the pictures.
Not for clinical use."""


def example(folder: Path) -> None:
    """Make the inputs, import the encoder, compare, calibrate, compare again."""
    print(WARNING)
    make(folder)
    models = folder / "models"
    command("import", "onnx", folder / "encoder.onnx", "--spec", HERE / "spec.toml", "--out", models)
    with service(models, folder) as url:
        compare(url, folder, scan(NEW[0], 0), scan(NEW[0], 1))
    words = ("--population", "slices of invented chests, two visits each", "--unit", "patient")
    impostor = ("--impostor", "another invented patient")
    command("calibrate", models / "chests" / "1.0.0", "--pairs", folder / "pairs.csv", *words, *impostor)
    with service(models, folder) as url:
        compare(url, folder, scan(NEW[0], 0), scan(NEW[0], 1))
        compare(url, folder, scan(NEW[0], 0), scan(NEW[1], 0))


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


if __name__ == "__main__":
    run_in_folder(example)
