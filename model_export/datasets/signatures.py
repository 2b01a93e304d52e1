"""Cross-media signatures (Luo et al. 2023): the same ten names signed by many people in four media, as PNG items.

Expects signatures.npz; see the set's own README for the arrays. What matches is one name by one writer, in another
medium: identity = writer and name, unit = writer, source = medium. group = name, so that hard impostors show the same
text by another hand. Nobody forged anything: such an impostor did not try to look like the writer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_export.datasets import LabelledItems, Splits
from model_export.datasets.people import draw_people
from model_export.datasets.pictures import to_png
from model_export.recipe.data import SignaturesData

NAMES = 10


def read_splits(folder: Path, data: SignaturesData) -> Splits:
    """Cut by writer: some are held out as one pool, of the others some watch and the rest train."""
    with np.load(folder / "signatures.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
        writer, name, medium = (arrays[one].astype(np.int64) for one in ("writer", "name", "medium"))
    everything = LabelledItems(
        [{"bytes": to_png(image)} for image in images],
        writer * NAMES + name,
        writer,
        name,
        medium,
        tuple(f"name {number}" for number in range(NAMES)),
    )
    training, validation, held_out = draw_people(writer, data.held_out, data.validation, data.seed)
    return Splits(
        training=everything.select(np.isin(writer, training)),
        validation=everything.select(np.isin(writer, validation)),
        calibration=everything.select(np.isin(writer, held_out)),
        test=None,
        test_population=f"the same {data.held_out} writers, cross-fitted by writer",
    )
