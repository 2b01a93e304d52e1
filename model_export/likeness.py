"""What two copies of an item have in common however they were saved: prints of items, and how alike two prints are.

A print of a picture, a sound or a series is its prepared form, brought to one small size, less its mean and of length
1, so that brightness, loudness and gain do not count: two are alike by their correlation. A print of a text is the set
of its character 5-grams: two are alike by their Jaccard similarity.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Array, Item, Limits, Modality
from model_export.datasets.item_files import digest_item

Float32 = npt.NDArray[np.float32]

SIDE = 32
VALUES = 2048
FRAME, HOP = 256, 128
GRAM = 5


@dataclass(frozen=True, slots=True)
class Print:
    """What is kept of an item: digests of its content and of its prepared form (32 bytes each), and its shape.

    shape: float32 (n,) of length 1, or all zero where the item is flat; `length` is the number of its steps before. A
    text has no shape; its `grams` are kept instead.
    """

    content: bytes
    prepared: bytes
    shape: Float32 | None
    length: int
    grams: frozenset[str]


def print_text(item: Item) -> Print:
    """The print of a text, whose prepared form is here the text without case, punctuation and doubled spaces."""
    plain = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", item["text"]).casefold()).strip() or item["text"]
    padded = f" {plain} "
    grams = frozenset(padded[at : at + GRAM] for at in range(max(1, len(padded) - GRAM + 1)))
    return Print(digest_item(item), hashlib.sha256(plain.encode()).digest(), None, len(plain), grams)


def print_prepared(item: Item, modality: Modality) -> Print:
    """The print of an item by its prepared windows. Raises what `prepare` raises."""
    windows = modality.prepare(item, Limits()).windows
    digest = hashlib.sha256()
    for window in windows:
        for name, values in sorted(window.items()):
            digest.update(f"{name}{values.shape}".encode() + values.tobytes())
    name = next(iter(windows[0]))
    whole = np.concatenate([window[name] for window in windows])
    return Print(digest_item(item), digest.digest(), _shape(whole, name), len(whole), frozenset())


def _shape(values: Array, name: str) -> Float32:
    """float32 (n,): pictures (height, width, channels) as SIDE x SIDE, (steps, channels) as some 2,048 values."""
    if name == "waveform":
        values = _spectrum(values)
    values = values.astype(np.float32)
    if values.ndim == 3:
        values = _resample(np.moveaxis(_resample(values, SIDE), 1, 0), SIDE)
    else:
        values = _resample(values, max(16, VALUES // int(np.prod(values.shape[1:]))))
    flat = values.ravel() - values.mean()
    size = float(np.linalg.norm(flat))
    return np.asarray(flat / size if size > 1e-6 else np.zeros_like(flat), np.float32)


def _resample(values: Float32, steps: int) -> Float32:
    """Means over `steps` equal stretches of the first axis: (steps, ...), any number of rows in."""
    total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0, dtype=np.float64)])
    at = np.linspace(0, len(values), steps + 1)
    low = np.minimum(at.astype(np.int64), len(values) - 1)
    share = (at - low).reshape(-1, *(1,) * (values.ndim - 1))
    ends = total[low] + share * (total[low + 1] - total[low])
    return np.asarray(np.diff(ends, axis=0) * (steps / len(values)), np.float32)


def _spectrum(samples: Array) -> Array:
    """ln(power + 1e-6) of frames of 256 samples, (frames, 129): a waveform itself has no shape at a few steps."""
    padded = np.pad(samples, (0, max(0, FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * np.hanning(FRAME)
    return np.asarray(np.log(np.square(np.abs(np.fft.rfft(frames, axis=1))) + 1e-6))
