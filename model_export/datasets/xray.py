"""PneumoniaMNIST (MedMNIST v2; Kermany et al. 2018): chest X-rays of children, 28x28, as PNG items.

Expects pneumoniamnist.npz; see the set's own README for the arrays. Identity = diagnosis, unit = picture: the set has
no patient numbers, so that two units may be of one child, and nothing here is evidence. Some pictures of the official
training part are exact copies of others, a few of them in the validation part: each picture is kept once, and none that
is measured trains.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_export.datasets import LabelledItems, Splits
from model_export.datasets.pictures import to_png
from model_export.errors import CommandError
from model_export.recipe.data import XrayData

MEASURED_FROM = 1_000_000
"""Pictures of the two official parts are numbered apart."""


def read_splits(folder: Path, data: XrayData) -> Splits:
    """The official training part trains but for some that watch; the official validation part is one pool."""
    with np.load(folder / "pneumoniamnist.npz", allow_pickle=False) as arrays:
        known, known_labels = arrays["train_images"], arrays["train_labels"].ravel().astype(np.int64)
        held_out, held_out_labels = arrays["val_images"], arrays["val_labels"].ravel().astype(np.int64)
    measured = _once(held_out, set())
    own = {held_out[place].tobytes() for place in measured}
    kept = np.random.default_rng(data.seed).permutation(_once(known, own))
    print(
        f"exact copies left out: {len(known) - len(kept)} of {len(known)} training pictures, "
        f"{len(held_out) - len(measured)} of {len(held_out)} measured ones"
    )
    if len(kept) < data.validation + 4:
        raise CommandError("data.validation: too few pictures are left to train on")
    return Splits(
        training=_items(known, known_labels, np.sort(kept[data.validation :]), 0),
        validation=_items(known, known_labels, np.sort(kept[: data.validation]), 0),
        calibration=_items(held_out, held_out_labels, measured, MEASURED_FROM),
        test=None,
        test_population="the same pictures, cross-fitted by picture",
    )


def _once(images: npt.NDArray[np.uint8], taken: set[bytes]) -> npt.NDArray[np.int64]:
    """Places of the pictures that are neither in `taken` nor copies of an earlier one, ascending."""
    seen, places = set(taken), []
    for place, image in enumerate(images):
        if (pixels := image.tobytes()) not in seen:
            seen.add(pixels)
            places.append(place)
    return np.array(places, np.int64)


def _items(
    images: npt.NDArray[np.uint8], label: npt.NDArray[np.int64], places: npt.NDArray[np.int64], first: int
) -> LabelledItems:
    return LabelledItems(
        [{"bytes": to_png(images[place])} for place in places],
        label[places],
        first + places,
        np.zeros(len(places), np.int64),
        first + places,
        ("pictures",),
    )
