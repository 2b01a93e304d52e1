"""One-shot recognition: is the nearest reference the right one? Ties count as wrong, else a constant encoder wins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.scoring import Metric, similarity_matrix

Vectors = npt.NDArray[np.float32]


def one_shot_hits(
    probes: Vectors, references: Vectors, answer: npt.NDArray[np.int64], metric: Metric = "cosine"
) -> npt.NDArray[np.bool_]:
    """Decide each probe alone: bool (probes,), true where reference `answer[i]` alone scores highest.

    probes (n, d), references (m, d), answer int64 (n,).
    """
    return hits_of_scores(similarity_matrix(probes, references, metric), answer)


def hits_of_scores(scores: npt.NDArray[np.float32], answer: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The same from scores (n, m): true where column `answer[i]` of row i is above every other."""
    right = np.zeros(scores.shape, np.bool_)
    right[np.arange(len(answer)), answer] = True
    best_other = np.where(right, -np.inf, scores).max(axis=1)
    return np.asarray(scores[right] > best_other)
