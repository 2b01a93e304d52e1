"""Items embedded by the exported graph through the code that serves, and the guard band. Nothing here knows torch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from app.core.bundle import CUDA
from app.core.errors import DeviceUnavailable, TwinserveError
from app.core.modalities.base import Item, Limits, Prepared
from app.core.scoring import Metric, similarity_matrix
from app.runtime.encoder import LADDER, Encoder
from model_export.datasets import LabelledItems
from model_export.errors import CommandError

Vectors = npt.NDArray[np.float32]
T = TypeVar("T")

CHUNK = 256
"""Items prepared and embedded at a time, so that the windows of a large set need not all be held."""
PER_BUCKET = 8
OTHER_THREADS = (2, 4)
"""The service runs one thread; other counts sum in another order."""


@dataclass(frozen=True)
class Embeddings:
    """What became of items: `kept` bool (items,) tells those that could be embedded; of these, in order, their vectors
    float32 (kept, d), the modality's summaries of their prepared form float32 (kept, s) and the buckets of their
    windows. `failure_to_acquire` holds the shares of all items that the service would refuse, by error code.

    summaries and buckets are None where another process embedded.
    """

    kept: npt.NDArray[np.bool_]
    vectors: Vectors
    summaries: Vectors | None
    buckets: Sequence[frozenset[Hashable]] | None
    failure_to_acquire: Mapping[str, float]


def embed_all(encoder: Encoder, items: Sequence[Item]) -> Embeddings:
    """Prepare and embed every item; an item that the service would refuse is counted by its error code and left out.

    Raises CommandError where all are refused, with the first one's reason.
    """
    kept = np.zeros(len(items), np.bool_)
    refused: Counter[str] = Counter()
    vectors, summaries, buckets, first = [], [], [], None
    for start in shown(range(0, len(items), CHUNK), "embedding"):
        prepared: list[Prepared] = []
        for place in range(start, min(start + CHUNK, len(items))):
            try:
                prepared.append(encoder.prepare(items[place], Limits()))
            except TwinserveError as error:
                first = first or error
                refused[error.code] += 1
            else:
                kept[place] = True
        vectors.append(encoder.embed_prepared(prepared))
        summaries += [encoder.summarize(one) for one in prepared]
        buckets += [frozenset(encoder.modality.bucket(window) for window in one.windows) for one in prepared]
    if not kept.any():
        reason = "there are none" if first is None else first.detail
        raise CommandError(f"no item can be embedded: {reason}")
    shares = {code: count / len(items) for code, count in sorted(refused.items())}
    return Embeddings(kept, np.concatenate(vectors), np.stack(summaries), buckets, shares)


@dataclass(frozen=True)
class Embedded:
    """Labelled items that could be embedded (`items`, a row of `rows.vectors` each), and their places among all."""

    items: LabelledItems
    places: npt.NDArray[np.int64]
    rows: Embeddings


def keep_labelled(items: LabelledItems, rows: Embeddings, *, tell: bool = True) -> Embedded:
    """The items that were embedded, beside their rows; what was refused is said in one line, if it is to be told."""
    for code, share in rows.failure_to_acquire.items() if tell else ():
        print(f"{share:.2%} of the items are refused: {code}")
    return Embedded(items.select(rows.kept), np.flatnonzero(rows.kept), rows)


def encoders_at_hand(encoder: Encoder) -> list[Encoder]:
    """The encoder, and the same bundle on other thread counts and on every provider that its golden vectors vouch for
    and this machine has.
    """
    bundle = encoder.bundle
    encoders = [encoder, *(Encoder(bundle, device="cpu", threads=count) for count in OTHER_THREADS)]
    if CUDA in bundle.golden.tolerance:
        with suppress(DeviceUnavailable):
            encoders.append(Encoder(bundle, device="cuda", threads=1))
    return encoders


def guard_band(encoders: Sequence[Encoder], items: Sequence[Item], metric: Metric, floor: float) -> float:
    """max(floor, 4 x the largest score difference over encoders (threads, providers) and batch sizes)."""
    return max(floor, 4.0 * largest_difference(encoders, items, metric))


def largest_difference(encoders: Sequence[Encoder], items: Sequence[Item], metric: Metric) -> float:
    """The most that a score of two items differs between encoders (threads, providers) and batch sizes.

    `items`: a few hundred are enough; all are compared with all, each with its windows pooled as in a verdict, embedded
    alone and in batches of every size that is ever run.
    """
    prepared = [encoders[0].prepare(item, Limits()) for item in items]
    seen = []
    for encoder in encoders:
        for size in LADDER:
            rows = encoder.embed_prepared(prepared, largest=size)
            seen.append(similarity_matrix(rows, rows, metric))
    return float((np.max(seen, axis=0) - np.min(seen, axis=0)).max())


def sample_for_band(rows: Embeddings, most: int, seed: int) -> npt.NDArray[np.int64]:
    """Places among the embedded items of those that measure the guard band: at most `most` at random, and beyond them
    as many more as give every bucket that occurs 8 items, or all that it has.
    """
    chosen: list[int] = []
    seen: Counter[Hashable] = Counter()
    for turn, place in enumerate(np.random.default_rng(seed).permutation(len(rows.vectors)).tolist()):
        buckets = frozenset() if rows.buckets is None else rows.buckets[place]
        if turn < most or any(seen[bucket] < PER_BUCKET for bucket in buckets):
            chosen.append(place)
            seen.update(buckets)
    return np.sort(np.array(chosen, np.int64))


def quiet(_: str) -> None:
    """In place of `print`, where the same was told already."""


def shown(work: Sequence[T], words: str) -> Iterator[T]:
    """The work, step by step, with its progress on stderr where that is a terminal."""
    with Progress(disable=not sys.stderr.isatty(), transient=True) as progress:
        yield from _tracked(progress, work, words)


def _tracked(progress: Progress, work: Iterable[T], words: str) -> Iterator[T]:
    yield from progress.track(work, description=words)
