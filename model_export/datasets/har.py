"""UCI HAR (Anguita et al. 2013), reduced: phone windows of six activities, as series of nine channels at 50 Hz.

Expects windows.npz; see the set's own README for the arrays. The copy does not say who was measured, so that people
cannot be held out: activities are. Identity = unit = activity; it says nothing about people. Windows come in order of
time, and neighbours may overlap by half: every other one is measured. source = an unbroken row of one activity, since
windows of one walk are alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.recipe.data import HarData

RATE = 50
ACTIVITIES = ("walking", "upstairs", "downstairs", "sitting", "standing", "laying")
WATCHING_SHARE = 0.2


def read_splits(folder: Path, data: HarData) -> Splits:
    """Cut by activity; of the training activities the last fifth of the windows watches."""
    with np.load(folder / "windows.npz", allow_pickle=False) as arrays:
        windows, activity = arrays["x"].transpose(0, 2, 1), arrays["y"].astype(np.int64) - 1
    items: list[Item] = [{"values": one.tolist(), "rate": RATE} for one in windows]
    stretch = np.cumsum(np.diff(activity, prepend=activity[:1]) != 0)
    everything = LabelledItems(items, activity, activity, np.zeros_like(activity), stretch, ("activities",))
    held_out = np.isin(activity, [ACTIVITIES.index(name) for name in data.held_out])
    if len(np.unique(activity[~held_out])) < 2:
        raise CommandError("data.held_out: two activities at least must train")
    place = np.arange(len(items))
    late = place >= (1 - WATCHING_SHARE) * len(items)
    return Splits(
        training=everything.select(~held_out & ~late),
        validation=everything.select(~held_out & late),
        calibration=everything.select(held_out & (place % 2 == 0)),
        test=None,
        test_population=f"{', '.join(data.held_out)}, cross-fitted by activity",
    )
