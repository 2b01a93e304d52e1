"""`types BUNDLE ...` and `claims BUNDLE --pairs FILE`: an operating point against each impostor type, and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.core.bundle import read_bundle
from model_export.beside import PAIR_DRAWS, PAIR_SEED
from model_export.card import Row, markdown_table, type_rows
from model_export.claim_tables import claims_table
from model_export.pairs import read_pairs, score_pairs
from model_export.subjects import LocalSubject, choose_point, newest, points_of

SHOWN = ("claimed against", "claimed FMR", "measured against", "measured FMR", "FMR agrees")
"""Of the columns of claims_table."""


def print_types(folders: Sequence[Path], point: str | None) -> None:
    """Print, for each bundle, how often each impostor type matches at the threshold of a point, TYPE:NAME.

    The default point where None; of a folder of versions the highest. Raises CommandError for a bundle without it.
    """
    rows: list[Row] = []
    for folder in folders:
        bundle = read_bundle(newest(folder))
        chosen = choose_point(bundle.key, points_of(bundle), point)
        assert bundle.calibration is not None  # it has a point
        header, *own = type_rows(bundle.calibration, float(chosen["threshold"]))
        rows = rows or [("", "threshold of", *header)]
        rows += [(bundle.key, f"{chosen['impostor']} {chosen['name']}", *row) for row in own]
    print("\n".join(markdown_table(rows)))


def print_claims(folder: Path, pairs: Path, point: str | None) -> None:
    """Print what a bundle claims at a point beside what is measured there on labelled pairs. Errors as above."""
    subject = LocalSubject(newest(folder))
    chosen = choose_point(subject.key, subject.points, point)
    table = read_pairs(pairs, subject.form)
    scores = score_pairs(table, subject.embed(table.items), subject.metric).scores
    header, *rows = claims_table([chosen], scores, draws=PAIR_DRAWS, seed=PAIR_SEED)[1]
    places = [header.index(name) for name in SHOWN]
    shown = [(subject.key, *(row[place] for place in places)) for row in rows]
    print("\n".join(["", *markdown_table([("", *SHOWN), *shown])]))
