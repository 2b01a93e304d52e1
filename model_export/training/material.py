"""Whether there is anything to learn from: refused early, before the first step, or said where it costs."""

from __future__ import annotations

import sys

import numpy as np

from model_export.datasets import LabelledItems
from model_export.errors import CommandError


def check_training_items(items: LabelledItems) -> None:
    """Raises CommandError for items that have nothing to tell apart, or nothing to bring together."""
    if not len(items):
        raise CommandError("data: no item is left to train on")
    counts = np.unique(items.identity, return_counts=True)[1]
    if len(counts) == 1:
        raise CommandError(f"data: all {len(items)} training items have one identity: nothing is there to tell apart")
    if counts.max() == 1:
        raise CommandError(f"data: each of the {len(items)} training items is the only one of its identity: none match")
    alone = int((counts == 1).sum())
    if alone:
        print(
            f"note: {alone} of {len(counts)} training identities have one item, which can only be paired with itself",
            file=sys.stderr,
        )
