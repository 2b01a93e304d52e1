"""MEU-Mobile (Al-Obaidi 2016): people typing .tie5Roanl on a touch tablet, as untimed series of 14 keys.

Expects keystroke.csv.gz; see the set's own README for its columns. Each step is a key: the natural logarithms of how
long it is held, of the time to the next key's press and of that from its release (both in ms, since pauses reach 48
seconds; none after the last key), pressure and finger area. Identity = unit = person.
"""

from __future__ import annotations

import csv
import gzip
import math
from itertools import zip_longest
from pathlib import Path

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.datasets.people import Numbers, draw_people
from model_export.recipe.data import KeystrokesData

KEYS = 14
COLUMNS = {"Hold": KEYS, "DD": KEYS - 1, "UD": KEYS - 1, "Pressure": KEYS, "Size": KEYS}
"""How many columns begin so, a key each; the set's three averages are left out."""
TIMES = ("Hold", "DD", "UD")


def read_splits(folder: Path, data: KeystrokesData) -> Splits:
    """Cut by person: some are held out as one pool, of the others some watch and the rest train."""
    items, person = _read(folder / "keystroke.csv.gz")
    training, validation, held_out = draw_people(person, data.held_out, data.validation, data.seed)
    everything = LabelledItems(items, person, person, np.zeros_like(person), np.arange(len(items)), ("people",))
    return Splits(
        training=everything.select(np.isin(person, training)),
        validation=everything.select(np.isin(person, validation)),
        calibration=everything.select(np.isin(person, held_out)),
        test=None,
        test_population=f"the same {data.held_out} people, cross-fitted by person",
    )


def _read(path: Path) -> tuple[list[Item], Numbers]:
    """Items, and whose each is. Raises ValueError for a table of other columns."""
    items: list[Item] = []
    person = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        columns = {name: [one for one in rows.fieldnames or () if one.startswith(f"{name} ")] for name in COLUMNS}
        for name, count in COLUMNS.items():
            if len(columns[name]) != count:
                raise ValueError(f"{len(columns[name])} columns begin with {name!r}, not {count}")
        for row in rows:
            channels = [[_value(name, row[one]) for one in columns[name]] for name in COLUMNS]
            items.append({"values": [list(step) for step in zip_longest(*channels)]})
            person.append(int(row["subject"]))
    return items, np.array(person, np.int64)


def _value(name: str, cell: str) -> float:
    return math.log(float(cell)) if name in TIMES else float(cell)
