"""How one's own texts are prepared, and the small network for them: a bag of byte pairs, as in recipes/questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.core.modalities.base import Item
from model_export.fitting.small import Small, some

SHORT_WORDS = 60
"""Texts of more words get a longer window."""
FEWEST_TOKENS, MOST_TOKENS = 300, 8000


def look(items: Sequence[Item]) -> Small:
    """Sizes by how long the texts are and how many different words they have."""
    words = [str(item["text"]).split() for item in some(items)]
    counts = [len(one) for one in words]
    distinct = len({word.lower() for one in words for word in one}) * len(items) // len(words)
    long = bool(np.quantile(counts, 0.9) > SHORT_WORDS)
    lengths = [16, 32, 64, 128, 256] if long else [16, 32, 64, 128]
    return Small(
        seen=f"{int(np.median(counts))} words each (median of {len(counts)} looked at)",
        params={
            "tokenizer": "tokenizer.json",
            "unicode_form": "NFKC",
            "max_tokens": lengths[-1],
            "lengths": lengths,
            "pad_id": 0,
            "inputs": ["input_ids", "attention_mask"],
            "prefixes": {},
            "long_text": "window",
            "window_overlap": 16,
        },
        encoder={
            "name": "bag",
            "width": 256,
            "hidden": 384,
            "dropout": 0.2,
            "dimension": 640,
            "lexical_share": 0.3,
            "lexical_dimension": 384,
        },
        augmentation={"kind": "text", "hide_tokens": 0.2},
        tokenizer={"vocabulary": int(np.clip(distinct, FEWEST_TOKENS, MOST_TOKENS))},
        batch=(32, 4),
        temperature=0.05,
        optimiser={"name": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-2},
    )
