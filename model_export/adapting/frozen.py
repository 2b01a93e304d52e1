"""Items embedded once, window by window, by the code that serves: all that a head is fitted to and chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.core.errors import TwinserveError
from app.core.modalities.base import Limits, Prepared
from app.core.scoring import Float32, pool
from app.runtime.encoder import Encoder
from model_export.adapting.heads import Head
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.measure import CHUNK, Embedded, Embeddings, shown


@dataclass(frozen=True, eq=False)
class Frozen:
    """Items and the embeddings of their windows: those of item i are rows[start[i]:start[i + 1]], float32 (windows, d).

    A head works on windows, since in the graph it stands before they are pooled.
    """

    items: LabelledItems
    rows: Float32
    start: npt.NDArray[np.int64]

    def embedded(self, head: Head) -> Embedded:
        """The items with their embeddings after the head, pooled as they are served."""
        rows = head.apply(self.rows)
        if len(rows) > len(self.items):
            parts = pairwise(self.start.tolist())
            rows = np.stack([pool(rows[first:after], head.normalise) for first, after in parts])
        count = len(self.items)
        return Embedded(self.items, np.arange(count), Embeddings(np.ones(count, np.bool_), rows, None, None, {}))

    def draw(self, chosen: npt.NDArray[np.int64], generator: np.random.Generator) -> Float32:
        """The embedding of one window of each chosen item, float32 (len(chosen), d)."""
        rows: Float32 = self.rows[generator.integers(self.start[chosen], self.start[chosen + 1])]
        return rows

    def identity_of_rows(self) -> npt.NDArray[np.int64]:
        """The identity of each window, int64 (windows,)."""
        return np.repeat(self.items.identity, np.diff(self.start))


def embed_frozen(encoder: Encoder, items: LabelledItems) -> Frozen:
    """Embed the windows of every item. Raises CommandError, naming it, for one that the service would refuse."""
    rows: list[Float32] = []
    start = [0]
    for first in shown(range(0, len(items), CHUNK), "embedding"):
        prepared = [_prepare(encoder, items, place) for place in range(first, min(first + CHUNK, len(items)))]
        rows.append(encode_windows(encoder, prepared))
        for one in prepared:
            start.append(start[-1] + len(one.windows))
    return Frozen(items, np.concatenate(rows), np.array(start, np.int64))


def encode_windows(encoder: Encoder, prepared: Sequence[Prepared]) -> Float32:
    """The embedding of every window, float32 (windows, d), not pooled."""
    return encoder.encode([window for one in prepared for window in one.windows])


def _prepare(encoder: Encoder, items: LabelledItems, place: int) -> Prepared:
    try:
        return encoder.prepare(items.items[place], Limits())
    except TwinserveError as error:
        raise CommandError(f"{items.name(place)}: cannot be embedded: {error.detail}") from error
