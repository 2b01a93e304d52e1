"""Pictures and texts made for the project, the same at every run. No data set's items, so that anyone can measure."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from model_export.drawings import draw_character

SIDE = 105
"""Width and height of a drawing: those of Omniglot, which `glyphs` was trained on."""
SCAN_SIDE = 1000
GRAIN = 4.0
"""Standard deviation of a scan's grain, in grey levels: without it a JPEG would be unlike any camera's."""

PEOPLE = (
    "a visitor",
    "my younger sister",
    "the new reader",
    "a student",
    "our neighbour",
    "the teacher",
    "an old friend",
)
DEEDS = ("borrow", "bring back", "renew", "find", "copy", "order", "reserve")
KINDS = ("a rare", "an illustrated", "the second", "a small", "some old", "a borrowed", "the missing")
THINGS = ("map", "atlas", "newspaper", "novel", "letter", "photograph", "dictionary", "manuscript")
PLACES = ("from the shelf", "at the desk", "in the library", "upstairs", "beside the main door")
TIMES = ("on a Sunday", "before the holidays", "after closing time", "next week", "without a card", "every morning")


def drawing(character: int, hand: int) -> bytes:
    """A character drawn by a hand, 105x105 PNG in grey."""
    return _encoded(draw_character(character, hand, (SIDE, SIDE)), "PNG")


def scan(character: int, hand: int) -> bytes:
    """The same as a one-megapixel grey scan, JPEG at quality 90."""
    large = draw_character(character, hand, (SCAN_SIDE // 4, SCAN_SIDE // 4)).resize((SCAN_SIDE, SCAN_SIDE))
    noise = np.random.default_rng([character, hand, 3]).normal(0.0, GRAIN, (SCAN_SIDE, SCAN_SIDE))
    pixels = np.clip(np.asarray(large) * 0.7 + 60.0 + noise, 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), "JPEG", quality=90)


def sentence(number: int) -> str:
    """One question of about twelve words: about 16 tokens of MiniLM's with the two special ones."""
    rng = np.random.default_rng([number, 4])
    who, deed, kind, thing, place, time = (
        str(rng.choice(words)) for words in (PEOPLE, DEEDS, KINDS, THINGS, PLACES, TIMES)
    )
    return f"Can {who} {deed} {kind} {thing} {place} {time}?"


def text(number: int) -> str:
    """One to nine questions in a row: most texts are short, a few are ten times as long."""
    count = min(int(np.random.default_rng([number, 5]).geometric(0.45)), 9)
    return " ".join(sentence(1000 + 10 * number + place) for place in range(count))


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
