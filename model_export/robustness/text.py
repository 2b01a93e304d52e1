"""Texts cut short and mistyped."""

from __future__ import annotations

import string

import numpy as np

from app.core.modalities.base import Item
from model_export.robustness import Change


def _cut(item: Item, percent: float, _: np.random.Generator) -> Item:
    """The beginning, so much less of its letters."""
    text = item["text"]
    return {**item, "text": text[: max(1, round(len(text) * (1 - percent / 100)))]}


def _mistyped(item: Item, percent: float, generator: np.random.Generator) -> Item:
    """So many of the letters dropped, doubled, exchanged with the next, or replaced by another of a to z."""
    letters = list(item["text"])
    at = 0
    while at < len(letters):
        if generator.random() < percent / 100:
            kind = generator.integers(4)
            if kind == 0:
                letters[at] = ""
            elif kind == 1:
                letters[at] *= 2
            elif kind == 2 and at + 1 < len(letters):
                letters[at : at + 2] = letters[at : at + 2][::-1]
                at += 1
            else:
                letters[at] = string.ascii_lowercase[int(generator.integers(26))]
        at += 1
    return {**item, "text": "".join(letters)}


CHANGES = (
    Change("cut", "% of the letters", (10, 25, 50, 75), _cut),
    Change("typing errors", "% of the letters", (2, 5, 10, 20), _mistyped),
)
