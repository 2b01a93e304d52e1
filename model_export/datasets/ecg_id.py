"""ECG-ID (Lugovaya 2005, PhysioNet): 20 seconds of lead I at 500 Hz, as series items in millivolts.

Expects ecg_id.npz; see the set's own README for the arrays. Identity = unit = person, source = day of recording. Two
items of one day were seldom taken hours apart; those of two days are the harder case, and are tabled apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.recipe.data import EcgIdData

RATE = 500
UNITS_PER_MILLIVOLT = 200.0
RAW, FILTERED = 0, 1


def read_splits(folder: Path, data: EcgIdData) -> Splits:
    """Cut by person: some are held out as one pool, of the others some watch and the rest train.

    Training takes each recording raw and as the set's authors filtered it; only raw ones are measured.
    """
    generator = np.random.default_rng(data.seed)
    with np.load(folder / "ecg_id.npz", allow_pickle=False) as arrays:
        signals, person, date = arrays["signals"], arrays["person"].astype(np.int64), arrays["date"]
    day = np.unique(date, return_inverse=True)[1].astype(np.int64)
    people = np.unique(person)
    several = np.array([one for one in people if len(np.unique(day[person == one])) > 1])
    others = np.setdiff1d(people, several)
    of_others = data.held_out - data.held_out_several_days
    if len(several) < data.held_out_several_days or len(others) < of_others:
        raise CommandError("data.held_out: the set has too few people for it")
    held_out = [
        *generator.permutation(several)[: data.held_out_several_days],
        *generator.permutation(others)[:of_others],
    ]
    left = generator.permutation(np.setdiff1d(people, held_out))
    if len(left) < data.validation + 2:
        raise CommandError("data.validation: too few people are left to train on")

    def take(who: npt.ArrayLike, kinds: tuple[int, ...]) -> LabelledItems:
        chosen = np.flatnonzero(np.isin(person, who))
        return LabelledItems(
            [{"values": _millivolts(signals[i, kind]), "rate": RATE} for kind in kinds for i in chosen],
            np.tile(person[chosen], len(kinds)),
            np.tile(person[chosen], len(kinds)),
            np.zeros(len(chosen) * len(kinds), np.int64),
            np.tile(day[chosen], len(kinds)),
            ("people",),
        )

    return Splits(
        training=take(left[data.validation :], (RAW, FILTERED)),
        validation=take(left[: data.validation], (RAW,)),
        calibration=take(held_out, (RAW,)),
        test=None,
        test_population=f"the same {data.held_out} people, cross-fitted by person",
    )


def _millivolts(signal: npt.NDArray[np.int16]) -> list[list[float]]:
    rows: list[list[float]] = (signal[:, np.newaxis] / UNITS_PER_MILLIVOLT).tolist()
    return rows
