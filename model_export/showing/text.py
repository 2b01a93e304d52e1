"""Texts as text."""

from __future__ import annotations

import html

from app.core.modalities.base import Item

LONGEST = 400


def show(item: Item) -> str:
    """The text, escaped; of a long one the beginning."""
    text = item["text"]
    return f"<q>{html.escape(text[:LONGEST])}{' ...' if len(text) > LONGEST else ''}</q>"
