"""Dutch signatures of SigComp2011 (Liwicki et al. 2011), in a cleaned copy: to be measured, never trained on.

Expects signatures.npz; see the set's own README for the arrays. The copy shows white ink on black; items are PNG files
as a caller would post them, black on white. An imitation's file name holds four figures of who made it and three of
whom it imitates: its unit is the maker.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from model_export.datasets import LabelledItems, OtherPopulation
from model_export.datasets.pictures import to_png

FORGED = re.compile(r"(?P<maker>\d{4})(?P<writer>\d{3})(?!\d)")
MAKERS_FROM = 1000
"""Makers are numbered after the writers, of whom none is known to have forged."""


def read_population(folder: Path) -> OtherPopulation:
    """All signatures of the copy. Raises ValueError for a forged one whose name does not say whom it imitates."""
    with np.load(folder / "signatures.npz", allow_pickle=False) as arrays:
        images, genuine, names = arrays["images"], arrays["genuine"], arrays["filename"]
        writer = arrays["writer"].astype(np.int64)
    count = len(images)
    unit = np.where(
        genuine,
        writer,
        [MAKERS_FROM + _maker(str(name)) if not own else 0 for name, own in zip(names, genuine, strict=True)],
    )
    zeros = np.zeros(count, np.int64)
    items = LabelledItems(
        [{"bytes": to_png(255 - image)} for image in images],
        np.where(genuine, writer, MAKERS_FROM + np.arange(count)),
        unit,
        zeros,
        zeros,
        ("signatures",),
    )
    return OtherPopulation(items, np.where(genuine, -1, writer))


def _maker(name: str) -> int:
    found = FORGED.search(name)
    if found is None:
        raise ValueError(f"{name!r} does not say who forged it")
    return int(found["maker"])
