"""Sentences written for the project: other scripts, marks, widths and lengths beside plain English."""

from __future__ import annotations

from collections.abc import Iterable

from app.core.modalities.base import Item

SENTENCES = (
    "how do I change my pin?",
    "How do I change my PIN?",
    "where is the nearest cash machine",
    "book a table for four at seven",
    "a",
    "Caf\u00e9 na\u00efve \u2014 combien \u00e7a co\u00fbte?",
    "Cafe\u0301 with a combining accent",
    "\ufb01nd my \uff50\uff41\uff52\uff43\uff45\uff4c",
    "send money \U0001f4b8 to mum \U0001f469\u200d\U0001f467",
    "the word \u0633\u0644\u0627\u0645 and the word \u05e9\u05dc\u05d5\u05dd mean peace",
    "\u6771\u4eac (Tokyo) to Kyoto by train",
    "tabs\tand\nnew  lines   count as spaces",
    "prices: 1,234.56 / 7% (approx.) #42",
    "donaudampfschifffahrtsgesellschaftskapitaen",
)
SUBJECTS = ("my parcel", "the old card", "a flight to Oslo", "our table for six", "this strange fee", "her new phone")
VERBS = (
    "has not arrived",
    "was refused twice",
    "must be moved",
    "seems to be lost",
    "costs too much",
    "cannot be found",
)


def long_text(words: int) -> str:
    """At least so many words, no two stretches of it alike, so that where it is cut shows."""
    clauses = [
        f"{SUBJECTS[number % 6]} {VERBS[(number // 6 + number) % 6]} on day {number};"
        for number in range(words // 6 + 1)
    ]
    return " ".join(clauses)


def probe_items(most_tokens: int, *, windowed: bool, prefixes: Iterable[str] = ()) -> list[Item]:
    """The sentences; a text of full length, cut; one of windows where long texts are taken; a text for each prefix."""
    items: list[Item] = [{"text": sentence} for sentence in SENTENCES]
    items.append({"text": long_text(most_tokens * 2), "truncate": True})
    if windowed:
        items.append({"text": long_text(most_tokens * 2)})
    items += [{"text": "How far is the moon?", "prefix": name} for name in prefixes]
    return items
