"""Texts compared by the letters that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from app.core.modalities.base import Item
from model_export.measure import Vectors

NGRAMS, MOST_NGRAMS = (3, 5), 8192
"""Lengths of the n-grams inside words, and how many are counted, the most frequent ones."""


def characters(items: Sequence[Item]) -> Vectors:
    """TF-IDF over character n-grams of these very texts, length 1: float32 (n, n-grams + 1).

    Raises ValueError where no text has a letter.
    """
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, max_features=MOST_NGRAMS, dtype=np.float32)
    weights = vectorizer.fit_transform([item["text"] for item in items])
    rows = np.zeros((weights.shape[0], weights.shape[1] + 1), np.float32)
    rows[:, :-1] = weights.toarray()
    rows[~rows.any(axis=1), -1] = 1.0  # a text without a counted n-gram is like others of that kind only
    return rows
