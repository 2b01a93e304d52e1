"""Face verification, from an ONNX file to a verdict with measured error rates: everything in docs/examples/faces.md.

    python examples/faces/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The faces are drawn and the encoder has random weights: it knows nobody.
"""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from running import command, compare_files, run_in_folder, service  # noqa: E402 - the line above makes it importable
from standin import draw_face, standin_encoder  # noqa: E402

PEOPLE, PHOTOS = 30, 2
"""What is calibrated on: 30 people are 435 pairs of different ones, enough to bound error rates of a few per cent."""
ANN, BEN = PEOPLE, PEOPLE + 1
"""People in no row of the table, so that comparing them shows what the calibration is worth."""


def example(folder: Path) -> None:
    """Draw faces, import the encoder, calibrate, and compare with both versions."""
    print("The encoder is a stand-in with random weights, the faces are drawn: the figures say nothing of a real one.")
    make(folder)
    models = folder / "models"
    command("import", "onnx", folder / "encoder.onnx", "--spec", HERE / "spec.toml", "--out", models)
    words = ("--population", "drawn faces, two pictures each", "--unit", "person", "--impostor", "another drawn person")
    command("calibrate", models / "faces" / "1.0.0", "--pairs", folder / "pairs.csv", *words)
    with service(models, folder) as url:
        one, again, other = (folder / photo(*who) for who in ((ANN, 0), (ANN, 1), (BEN, 0)))
        compare_files(url, one, again, model="faces@1.0.0")
        compare_files(url, one, again, model="faces")
        compare_files(url, one, other, model="faces")
        compare_files(url, one, other, model="faces", max_fmr=0.001)


def make(folder: Path) -> None:
    """Write person-NN-N.png, pairs.csv (every pair of those calibrated on) and encoder.onnx."""
    for person, number in itertools.product(range(PEOPLE + 2), range(PHOTOS)):
        draw_face(person, number).save(folder / photo(person, number))
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "label", "impostor", "unit_a", "unit_b"])
        for a, b in itertools.combinations(itertools.product(range(PEOPLE), range(PHOTOS)), 2):
            same = a[0] == b[0]
            table.writerow([photo(*a), photo(*b), int(same), "" if same else "random", f"p{a[0]}", f"p{b[0]}"])
    (folder / "encoder.onnx").write_bytes(standin_encoder())


def photo(person: int, number: int) -> str:
    """The file of a picture, relative to the folder."""
    return f"person-{person:02d}-{number}.png"


if __name__ == "__main__":
    run_in_folder(example)
