"""Copies among prints of two parts: exact ones by digest, near ones by an exhaustive search that compares no two prints
in Python.

Correlations of shapes are one matrix product. Sets of n-grams are compared only where they share one of their rarest
grams: two sets of Jaccard similarity t must, whatever they are (prefix filter, Chaudhuri, Ganti and Kaushik 2006).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from model_export.likeness import Print

ALIKE = {"image": 0.99, "audio": 0.98, "series": 0.9999, "text": 0.9}
"""Likeness from which two items are near copies, by modality: see docs/your-data.md for what it finds and what not."""
LENGTHS = 0.03
"""Copies are as long as each other, but for what an encoder adds: a share of the longer, and one step."""
ROWS = 1024
Hit = tuple[int, int, float]


def exact_pairs(first: Sequence[Print], second: Sequence[Print]) -> Iterator[tuple[int, int, str]]:
    """(place in first, place in second, `content` or `prepared form`) of every two that are equal."""
    at: dict[bytes, list[int]] = {}
    for place, one in enumerate(first):
        at.setdefault(one.prepared, []).append(place)
    for other, two in enumerate(second):
        for place in at.get(two.prepared, ()):
            yield place, other, "content" if first[place].content == two.content else "prepared form"


def near_pairs(first: Sequence[Print], second: Sequence[Print], alike: float) -> Iterator[Hit]:
    """(place in first, place in second, likeness) of every two that are at least as alike, equal ones too."""
    if not first or not second:
        return iter(())
    return _by_grams(first, second, alike) if first[0].shape is None else _by_shape(first, second, alike)


def _by_shape(first: Sequence[Print], second: Sequence[Print], alike: float) -> Iterator[Hit]:
    rows = np.stack([one.shape for one in second if one.shape is not None])
    lengths = np.array([one.length for one in second])
    for start in range(0, len(first), ROWS):
        block = first[start : start + ROWS]
        likeness = np.stack([one.shape for one in block if one.shape is not None]) @ rows.T
        for at, other in zip(*(side.tolist() for side in np.nonzero(likeness >= alike)), strict=True):
            length = block[at].length
            if abs(length - lengths[other]) <= 1 + LENGTHS * max(length, lengths[other]):
                yield start + at, other, float(likeness[at, other])


def _by_grams(first: Sequence[Print], second: Sequence[Print], alike: float) -> Iterator[Hit]:
    count = Counter(gram for one in (*first, *second) for gram in one.grams)
    number = {gram: place for place, gram in enumerate(sorted(count, key=lambda gram: (count[gram], gram)))}
    left, right = (_rarest([one.grams for one in side], number, alike) for side in (first, second))
    sizes, others = (np.array([len(one.grams) for one in side]) for side in (first, second))
    for start in range(0, len(first), ROWS):
        shared = (left[start : start + ROWS] @ right.T).tocoo()
        size, other_size = sizes[start + shared.row], others[shared.col]
        fit = np.minimum(size, other_size) >= alike * np.maximum(size, other_size)
        for at, other in zip(shared.row[fit].tolist(), shared.col[fit].tolist(), strict=True):
            one, two = first[start + at].grams, second[other].grams
            likeness = len(one & two) / len(one | two)
            if likeness >= alike:
                yield start + at, other, likeness


def _rarest(sets: Sequence[frozenset[str]], number: dict[str, int], alike: float) -> csr_array:
    """Which of their rarest grams the sets have, (sets, grams): as many as one of them must be shared."""
    columns: list[int] = []
    starts = [0]
    for grams in sets:
        keep = len(grams) - int(np.ceil(alike * len(grams))) + 1
        columns += sorted(number[gram] for gram in grams)[:keep]
        starts.append(len(columns))
    ones: npt.NDArray[np.int32] = np.ones(len(columns), np.int32)
    return csr_array((ones, columns, starts), (len(sets), max(1, len(number))))
