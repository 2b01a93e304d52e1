"""Walking with a phone carried in nine ways (IEEE 2017, "Robust Gait Recognition ..."), as series of six channels.

Expects steps2.npz or steps5.npz; see the set's own README for the arrays. The seventh channel, air pressure, tells the
day of the recording and is dropped. Identity = unit = person, source = the way of carrying. The set names no rate: its
clock counts 50 samples in most whole seconds. A person was recorded on one day, so that phone, clothes and place may
help to tell people apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.datasets.people import draw_people
from model_export.recipe.data import GaitData

RATE = 50
CHANNELS = 6
LAST_TAKE = 4


def read_splits(folder: Path, data: GaitData) -> Splits:
    """Cut by person. So few are left that the training people's last takes watch, and no one else."""
    with np.load(folder / f"steps{data.steps}.npz", allow_pickle=False) as arrays:
        values, ends = arrays["values"][:, :CHANNELS], np.cumsum(arrays["length"])[:-1]
        person, gesture, take = (arrays[name].astype(np.int64) for name in ("person", "gesture", "take"))
    items: list[Item] = [{"values": one.tolist(), "rate": RATE} for one in np.split(values, ends)]
    everything = LabelledItems(items, person, person, np.zeros_like(person), gesture, ("people",))
    training, _, held_out = draw_people(person, data.held_out, 0, data.seed)
    trains = np.isin(person, training)
    return Splits(
        training=everything.select(trains & (take != LAST_TAKE)),
        validation=everything.select(trains & (take == LAST_TAKE)),
        calibration=everything.select(np.isin(person, held_out)),
        test=None,
        test_population=f"the same {data.held_out} people, cross-fitted by person",
    )
