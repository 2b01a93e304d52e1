"""Pen strokes, from an ONNX file to a verdict with measured error rates: everything in docs/examples/pen-strokes.md.

    python examples/pen-strokes/run.py [FOLDER]

Writes to FOLDER, or to a temporary one. The writers are invented and the encoder has random weights.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from running import command, compare_items, run_in_folder, service  # noqa: E402 - the line above makes it importable
from strokes import standin_encoder, write  # noqa: E402

WRITERS, WORDS = 30, 3
"""What is calibrated on: each of 30 writers writes three words of their own."""
ANN, BEN = WRITERS, WRITERS + 1
"""Writers in no row of the table."""


def example(folder: Path) -> None:
    """Write strokes, import the encoder, calibrate, and compare."""
    print("The encoder is a stand-in with random weights, and nobody wrote the strokes.")
    make(folder)
    models = folder / "models"
    command("import", "onnx", folder / "encoder.onnx", "--spec", HERE / "spec.toml", "--out", models)
    words = ("--population", "invented strokes, three words each", "--unit", "writer", "--impostor", "another writer")
    command("calibrate", models / "pen-strokes" / "1.0.0", "--pairs", folder / "pairs.csv", *words)
    ann, ann_again, ben = ({"values": write(*who)} for who in ((ANN, 0), (ANN, 1), (BEN, 0)))
    unfelt = {"values": [[x, y, 0.5, step] for x, y, _, step in write(ANN, 2)]}
    with service(models, folder) as url:
        compare_items(url, {"model": "pen-strokes@1.0.0", "a": ann, "b": ann_again}, folder / "uncalibrated.json")
        compare_items(url, {"model": "pen-strokes", "a": ann, "b": ann_again}, folder / "one-hand.json")
        compare_items(url, {"model": "pen-strokes", "a": ann, "b": ben}, folder / "two-hands.json")
        compare_items(url, {"model": "pen-strokes", "a": ann, "b": unfelt}, folder / "no-pressure.json")
        compare_items(url, {"model": "pen-strokes", "a": ann, "b": {**ben, "rate": 100}}, folder / "rate.json")


def make(folder: Path) -> None:
    """Write writer-NN-N.json, pairs.csv (every pair of those calibrated on) and encoder.onnx."""
    known = list(itertools.product(range(WRITERS), range(WORDS)))
    for writer, word in known:
        (folder / item(writer, word)).write_text(json.dumps({"values": write(writer, word)}), "utf-8")
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["a", "b", "label", "impostor", "unit_a", "unit_b"])
        for a, b in itertools.combinations(known, 2):
            same = a[0] == b[0]
            table.writerow([item(*a), item(*b), int(same), "" if same else "random", f"w{a[0]}", f"w{b[0]}"])
    (folder / "encoder.onnx").write_bytes(standin_encoder())


def item(writer: int, word: int) -> str:
    """The file of what a writer wrote, relative to the folder."""
    return f"writer-{writer:02d}-{word}.json"


if __name__ == "__main__":
    run_in_folder(example)
