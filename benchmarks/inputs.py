"""Pictures and texts made for the project, the same at every run. No data set's items, so that anyone can measure."""

from __future__ import annotations

import io
import wave

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


def photograph(number: int, width: int, height: int) -> bytes:
    """A colour photograph's worth of JPEG at quality 90: soft shapes, with a camera's grain."""
    rng = np.random.default_rng([number, 6])
    shapes = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height))
    grain = np.random.default_rng([number, 7]).normal(0.0, GRAIN, (height, width, 1)).astype(np.float32)
    pixels = np.clip(np.asarray(shapes, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), "JPEG", quality=90)


def recording(number: int) -> bytes:
    """Ten seconds of a quiet room, 16 kHz WAV of 16 bits, with one second of a voiced sound in them."""
    rate, rng = 16_000, np.random.default_rng([number, 8])
    times = np.arange(rate) / rate
    pitch = rng.uniform(90, 220)
    voice = sum(np.sin(2 * np.pi * pitch * harmonic * times) / harmonic for harmonic in range(1, 20))
    samples = rng.normal(0.0, 1e-4, 10 * rate)
    start = int(rng.integers(rate, 8 * rate))
    samples[start : start + rate] += 0.1 * voice * np.hanning(rate)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def heartbeats(number: int) -> list[list[float]]:
    """Ten seconds of one lead at 500 Hz, in mV: a peak at each beat, a slow wave after it, and noise."""
    rng = np.random.default_rng([number, 9])
    times = np.arange(5000) / 500
    phase = np.modf(times * rng.uniform(0.9, 1.4))[0]
    lead = np.exp(-(((phase - 0.3) / 0.02) ** 2)) + 0.25 * np.exp(-(((phase - 0.55) / 0.06) ** 2))
    return [[round(float(value), 4)] for value in lead + rng.normal(0.0, 0.01, len(times))]


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
