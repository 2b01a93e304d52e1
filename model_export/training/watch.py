"""What is looked at after each round: how well validation items are told apart, and how their embeddings lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from app.core.modalities.base import Modality
from app.core.scoring import Metric, similarity_matrix
from model_export.datasets import LabelledItems
from model_export.encoders import TwinEncoder
from model_export.errors import CommandError
from model_export.training.collapse import effective_rank, spread
from model_export.windows import PreparedItems, embed_items, prepare_items

VALIDATION_ITEMS = 3000
"""Of more validation items a drawn part is looked at: each is compared with each."""


@dataclass(frozen=True)
class Look:
    """One look: area under the ROC curve of all pairs, and the signs of collapse; see collapse.py."""

    auc: float
    spread: float
    effective_rank: float


@dataclass(frozen=True)
class Watch:
    """Validation items, whether two of them match: bool (items, items), and how the served score compares them."""

    prepared: PreparedItems
    same: npt.NDArray[np.bool_]
    metric: Metric

    @classmethod
    def begin(cls, items: LabelledItems, modality: Modality, seed: int, metric: Metric = "cosine") -> Watch:
        """Prepare the validation items, or so many of them as are looked at.

        Raises CommandError where no two of them match, or all do: nothing could be watched.
        """
        items = items.select(np.random.default_rng(seed).permutation(len(items)) < VALIDATION_ITEMS)
        same = items.identity[:, np.newaxis] == items.identity
        pairs = same[np.triu_indices(len(items), k=1)]
        if not pairs.any() or pairs.all():
            kind = "all have one identity" if len(pairs) and pairs.all() else "no two have one identity"
            raise CommandError(f"data: of {len(items)} validation items {kind}, so that nothing can be watched")
        return cls(prepare_items(modality, items), same, metric)

    def look(self, encoder: TwinEncoder) -> Look:
        """Embed and measure. Raises CommandError for embeddings that are not finite, or zero and without direction."""
        vectors = embed_items(encoder, self.prepared)
        finite = bool(np.isfinite(vectors).all())
        if not finite or (self.metric == "cosine" and not vectors.any(axis=1).all()):
            fault = "zero" if finite else "not finite"
            raise CommandError(f"embeddings are {fault}: lower optimiser.learning_rate, or set optimiser.clip_norm")
        upper = np.triu_indices(len(vectors), k=1)
        auc = roc_auc_score(self.same[upper], similarity_matrix(vectors, vectors, self.metric)[upper])
        return Look(float(auc), spread(vectors), effective_rank(vectors))
