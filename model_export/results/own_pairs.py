"""`own-pairs RECIPE --out FOLDER`: ECG-ID's own pairs.tsv as tables for `evaluate --pairs`, held-out people only.

A row that touches a person who trained, or who watched the training, is dropped. Writes same_day.tsv, other_day.tsv
(the genuine pairs of that kind, and in each all impostor pairs), all.tsv, and the items as JSON files beside them.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from model_export import recipe
from model_export.datasets.ecg_id import RATE, RAW, UNITS_PER_MILLIVOLT
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import data as recipe_data

IMPOSTOR = "impostor"


def write_own_pairs(recipe_path: Path, out: Path) -> None:
    """Write the tables and print what was dropped. Raises CommandError for a recipe of other data."""
    chosen = recipe.read_recipe(recipe_path)
    if not isinstance(chosen.data, recipe_data.EcgIdData):
        raise CommandError(f"{recipe_path}: data.reader is {chosen.data.reader!r}; only ecg_id has its own pairs")
    folder = recipe.data_folder(chosen)
    held_out = set(read_splits(chosen).calibration.unit.tolist())
    with np.load(folder / "ecg_id.npz", allow_pickle=False) as arrays:
        signals, person = arrays["signals"][:, RAW], arrays["person"].tolist()
    with (folder / "pairs.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    kept = [row for row in rows if {person[int(row["a"])], person[int(row["b"])]} <= held_out]
    print(f"{len(kept)} of {len(rows)} rows are of held-out people; the others are dropped")
    out.mkdir(parents=True, exist_ok=True)
    for place in {int(row[side]) for row in kept for side in "ab"}:
        values = (signals[place, :, np.newaxis] / UNITS_PER_MILLIVOLT).tolist()
        (out / f"{place}.json").write_text(json.dumps({"values": values, "rate": RATE}), "utf-8")
    kinds = sorted({row["kind"] for row in kept} - {IMPOSTOR})
    for name, wanted in {"all": kinds, **{kind: [kind] for kind in kinds}}.items():
        with (out / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["a", "b", "label", "unit_a", "unit_b"])
            for row in kept:
                if row["kind"] in (*wanted, IMPOSTOR):
                    ends = int(row["a"]), int(row["b"])
                    table.writerow([*(f"{end}.json" for end in ends), row["label"], *(person[end] for end in ends)])
        print(f"wrote {out / name}.tsv")
