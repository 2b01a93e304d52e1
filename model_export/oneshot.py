"""One-shot recognition: is the nearest reference the right one? Ties count as wrong, else a constant encoder wins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.scoring import similarity_matrix
from model_export.datasets import LabelledItems

Vectors = npt.NDArray[np.float32]


def one_shot_hits(probes: Vectors, references: Vectors, answer: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Decide each probe alone: bool (probes,), true where reference `answer[i]` alone scores highest.

    probes (n, d), references (m, d), answer int64 (n,).
    """
    return hits_of_scores(similarity_matrix(probes, references, "cosine"), answer)


def hits_of_scores(scores: npt.NDArray[np.float32], answer: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The same from scores (n, m): true where column `answer[i]` of row i is above every other."""
    right = np.zeros(scores.shape, np.bool_)
    right[np.arange(len(answer)), answer] = True
    best_other = np.where(right, -np.inf, scores).max(axis=1)
    return np.asarray(scores[right] > best_other)


def accuracy_within_groups(vectors: Vectors, items: LabelledItems) -> float:
    """Mean one-shot accuracy inside groups, over eight fixed pairs of sources; all identities of a group compete."""
    hits: list[npt.NDArray[np.bool_]] = []
    for group in np.unique(items.group):
        for first in range(1, 16, 2):
            probe = np.flatnonzero((items.group == group) & (items.source == first))
            reference = np.flatnonzero((items.group == group) & (items.source == first + 1))
            known = np.isin(items.identity[probe], items.identity[reference])
            order = {identity: place for place, identity in enumerate(items.identity[reference])}
            answer = np.array([order[identity] for identity in items.identity[probe][known]], np.int64)
            hits.append(one_shot_hits(vectors[probe][known], vectors[reference], answer))
    return float(np.concatenate(hits).mean())
