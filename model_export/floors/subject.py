"""A floor as a subject, beside those of model_export/subjects.py: it is measured as a bundle is."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core import modalities
from app.core.bundle import ModalityChoice
from app.core.errors import TwinserveError
from app.core.evidence import Calibration
from app.core.modalities.base import Item, Limits, Modality, Window
from app.core.scoring import Metric
from model_export.errors import CommandError
from model_export.floors import FITS
from model_export.floors.characters import characters
from model_export.floors.heartbeats import log_spectrum, mean_beat
from model_export.floors.pixels import pixels
from model_export.floors.sequences import mean_bands, stretched, warped
from model_export.measure import Embeddings, Vectors
from model_export.subjects import Preparation

RAW = {"characters": "text", "beat": "values", "spectrum": "values"}
"""Floors that read items as they are, with the form that they take."""
PREPARED: dict[str, Callable[[Sequence[Window]], Vectors]] = {
    "pixels": pixels,
    "euclidean": stretched,
    "dtw": warped,
    "bands": mean_bands,
}
"""Floors that compare what a modality prepares, one window an item."""


class Floor:
    """Raises CommandError for a floor that does not fit the data.

    Rows are comparable within one call of `embed` only: `characters` weighs n-grams by the texts of the call, and `dtw`
    places its rows by the distances of the call.
    """

    calibration: Calibration | None = None
    points: Sequence[Mapping[str, Any]] = ()
    valid_until: datetime.date | None = None

    def __init__(self, name: str, preparation: Preparation | None) -> None:
        self.key = f"floor {name}"
        # Rows of length 1 have their cosines' order; a product of texts that share nothing is 0, and costs exact sums.
        self.metric: Metric = "euclidean" if name in ("euclidean", "dtw", "characters") else "cosine"
        self._name = name
        if preparation is not None and preparation.name not in FITS[name]:
            raise CommandError(f"{name} is no floor for the modality {preparation.name!r}")
        self.preparation: Preparation = preparation or ModalityChoice(name=FITS[name][0], params={})
        self._modality: Modality | None = None
        if name not in RAW:
            if preparation is None:
                raise CommandError(f"{name}: give --recipe, which says how items are prepared")
            self._modality = modalities.create(preparation.name, preparation.params, {})
        self.form = RAW[name] if self._modality is None else self._modality.form

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """Rows of the items; one that the modality refuses is counted. Raises CommandError where all are."""
        if self._modality is not None:
            kept, refused, windows = _prepare(self._modality, items)
            return Embeddings(kept, PREPARED[self._name](windows), None, None, refused)
        everything = np.ones(len(items), np.bool_)
        try:
            rows = characters(items) if self._name == "characters" else _electrocardiograms(self._name, items)
        except KeyError as error:
            raise CommandError(f"{self._name}: items have no {error}") from error
        except ValueError as error:  # texts without a letter, a recording without a beat
            raise CommandError(f"{self._name}: {error}") from error
        return Embeddings(everything, rows, None, None, {})


def _prepare(modality: Modality, items: Sequence[Item]) -> tuple[npt.NDArray[np.bool_], dict[str, float], list[Window]]:
    """Which items could be prepared, the shares that could not by error code, and a window each of those that could."""
    kept = np.zeros(len(items), np.bool_)
    refused: Counter[str] = Counter()
    windows = []
    for place, item in enumerate(items):
        try:
            prepared = modality.prepare(item, Limits()).windows
        except TwinserveError as error:
            refused[error.code] += 1
            continue
        if len(prepared) > 1:
            raise CommandError(f"item {place} has {len(prepared)} windows; this floor compares items of one window")
        kept[place] = True
        windows.append(prepared[0])
    if not windows:
        raise CommandError("the modality refuses every item")
    return kept, {code: count / len(items) for code, count in refused.items()}, windows


def _electrocardiograms(name: str, items: Sequence[Item]) -> Vectors:
    compute = mean_beat if name == "beat" else log_spectrum
    signals = ((np.array(item["values"], np.float64), item["rate"]) for item in items)
    return np.stack([compute(values[:, 0], rate) for values, rate in signals]).astype(np.float32)
