"""Floors: what a comparison without learning does on the same items and pairs, measured by the same code.

A floor is a subject like a bundle: it turns items into rows, which are then compared. What an encoder gains over it is
what training was good for.

- characters: text, cosine of TF-IDF over character n-grams
- pixels: pictures as the recipe prepares them, correlation of their pixels
- euclidean: series or log-mel frames as the recipe prepares them, Euclidean distance, stretched to one length
- dtw: the same, dynamic time warping; see warping.py
- beat, spectrum: electrocardiograms, correlation of the averaged beat or of log spectra; see heartbeats.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer

from app.core import modalities
from app.core.errors import TwinserveError
from app.core.evidence import Calibration
from app.core.modalities.base import Item, Limits, Modality, Window
from app.core.scoring import Metric
from model_export.errors import CommandError
from model_export.measure import Embeddings, Vectors
from model_export.recipe import Recipe
from model_export.results.heartbeats import log_spectrum, mean_beat, unit
from model_export.results.warping import rows_apart, warp_all

NGRAMS, MOST_NGRAMS = (3, 5), 8192
"""Lengths of the n-grams inside words, and how many are counted, the most frequent ones."""
RAW = {"characters": "text", "beat": "values", "spectrum": "values"}
"""Floors that read items as they are, with the form that they take. The others compare what a recipe prepares."""


class Floor:
    """A floor as a subject, beside those of subjects.py. Raises CommandError for a floor that does not fit the data.

    Rows are comparable within one call of `embed` only: `characters` weighs n-grams by the texts of the call, and `dtw`
    places its rows by the distances of the call.
    """

    calibration: Calibration | None = None
    points: Sequence[Mapping[str, Any]] = ()

    def __init__(self, name: str, recipe: Recipe | None) -> None:
        self.key = f"floor {name}"
        # Rows of length 1 have their cosines' order; a product of texts that share nothing is 0, and costs exact sums.
        self.metric: Metric = "euclidean" if name in ("euclidean", "dtw", "characters") else "cosine"
        self._name = name
        self._modality = None if name in RAW else _modality(name, recipe)
        self.form = RAW[name] if self._modality is None else self._modality.form

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """Rows of the items; one that the recipe's modality refuses is counted. Raises CommandError where all are."""
        if self._modality is not None:
            kept, refused, windows = _prepare(self._modality, items)
            return Embeddings(kept, PREPARED[self._name](windows), None, None, refused)
        everything = np.ones(len(items), np.bool_)
        try:
            rows = _characters(items) if self._name == "characters" else _electrocardiograms(self._name, items)
        except KeyError as error:
            raise CommandError(f"{self._name}: items have no {error}") from error
        except ValueError as error:  # texts without a letter, a recording without a beat
            raise CommandError(f"{self._name}: {error}") from error
        return Embeddings(everything, rows, None, None, {})


def _modality(name: str, recipe: Recipe | None) -> Modality:
    if recipe is None:
        raise CommandError(f"{name}: give --recipe, which says how items are prepared")
    if recipe.tokenizer is not None or (recipe.modality.name == "image") != (name == "pixels"):
        raise CommandError(f"{name} is no floor for the modality {recipe.modality.name!r}")
    return modalities.create(recipe.modality.name, recipe.modality.params, {})


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
        raise CommandError("the recipe's modality refuses every item")
    return kept, {code: count / len(items) for code, count in refused.items()}, windows


def _characters(items: Sequence[Item]) -> Vectors:
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, max_features=MOST_NGRAMS, dtype=np.float32)
    weights = vectorizer.fit_transform([item["text"] for item in items])
    rows = np.zeros((weights.shape[0], weights.shape[1] + 1), np.float32)
    rows[:, :-1] = weights.toarray()
    rows[~rows.any(axis=1), -1] = 1.0  # a text without a counted n-gram is like others of that kind only
    return rows


def _electrocardiograms(name: str, items: Sequence[Item]) -> Vectors:
    compute = mean_beat if name == "beat" else log_spectrum
    signals = ((np.array(item["values"], np.float64), item["rate"]) for item in items)
    return np.stack([compute(values[:, 0], rate) for values, rate in signals]).astype(np.float32)


def _pixels(windows: Sequence[Window]) -> Vectors:
    return np.stack([unit(window["pixels"].ravel()) for window in windows]).astype(np.float32)


def _stretched(windows: Sequence[Window]) -> Vectors:
    """Every sequence stretched by straight lines to the longest one's steps, which changes none of equal length."""
    sequences = _sequences(windows)
    longest = max(map(len, sequences))
    return np.stack([_stretch(one, longest).ravel() for one in sequences]).astype(np.float32)


def _stretch(sequence: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float64]:
    places = np.linspace(0, len(sequence) - 1, steps)
    return np.stack([np.interp(places, np.arange(len(sequence)), channel) for channel in sequence.T], axis=1)


def _warped(windows: Sequence[Window]) -> Vectors:
    return rows_apart(warp_all(_sequences(windows)))


def _sequences(windows: Sequence[Window]) -> list[npt.NDArray[np.float32]]:
    """The real steps of each window, float32 (steps, channels)."""
    (name,) = set(windows[0]) - {"mask"}
    return [window[name][window["mask"] > 0] for window in windows]


PREPARED: dict[str, Callable[[Sequence[Window]], Vectors]] = {
    "pixels": _pixels,
    "euclidean": _stretched,
    "dtw": _warped,
}
"""Floors that compare windows, one an item."""
