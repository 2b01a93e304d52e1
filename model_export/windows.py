"""Items prepared once for training by the code that serves, and batches of their windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from app.core.errors import TwinserveError
from app.core.modalities.base import Limits, Modality, Window
from app.core.scoring import pool
from model_export.augment import Batch
from model_export.datasets import LabelledItems
from model_export.encoders import TwinEncoder
from model_export.errors import CommandError

EMBED_AT_ONCE = 256
NAMED_FAULTS = 10
"""Of more unusable items only so many are named."""


@dataclass(frozen=True)
class PreparedItems:
    """Windows of items: those of item i are windows[start[i]:start[i + 1]]."""

    windows: list[Window]
    start: npt.NDArray[np.int64]

    def draw(self, chosen: npt.NDArray[np.int64], generator: np.random.Generator) -> Batch:
        """One window of each chosen item, drawn where it has several."""
        first, after = self.start[chosen], self.start[chosen + 1]
        return stack_windows([self.windows[place] for place in generator.integers(first, after)])


def prepare_items(modality: Modality, items: LabelledItems) -> PreparedItems:
    """Every item through `prepare`. Raises CommandError naming those that the service would refuse, the first in full.

    All are tried first, so that a table with many faults is mended at once.
    """
    windows: list[Window] = []
    start = [0]
    faults: list[tuple[int, str]] = []
    for place, item in enumerate(items.items):
        try:
            windows.extend(modality.prepare(item, Limits()).windows)
        except TwinserveError as error:
            faults.append((place, error.detail))
        start.append(len(windows))
    if faults:
        raise CommandError(_tell_faults(faults, len(items)))
    return PreparedItems(windows, np.array(start, np.int64))


def _tell_faults(faults: Sequence[tuple[int, str]], count: int) -> str:
    first, detail = faults[0]
    if len(faults) == 1:
        return f"item {first} cannot be prepared: {detail}"
    others = [str(place) for place, _ in faults[1:NAMED_FAULTS]]
    more = f" and {len(faults) - NAMED_FAULTS} more" if len(faults) > NAMED_FAULTS else ""
    also = f"also items {', '.join(others)}{more}"
    return f"{len(faults)} of {count} items cannot be prepared: item {first}: {detail}; {also}"


def stack_windows(windows: Sequence[Window]) -> Batch:
    """Pad windows with zeros to the longest and stack them. Encoders read no padding, so that its length is free."""
    batch: Batch = {}
    for name, like in windows[0].items():
        longest = max(len(window[name]) for window in windows)
        rows = np.zeros((len(windows), longest, *like.shape[1:]), like.dtype)
        for row, window in zip(rows, windows, strict=True):
            row[: len(window[name])] = window[name]
        batch[name] = torch.from_numpy(rows)
    return batch


def embed_items(encoder: TwinEncoder, prepared: PreparedItems) -> npt.NDArray[np.float32]:
    """Embed on the encoder's device for the progress figure and for mining, float32 (items, d).

    Every reported figure comes from the exported graph.
    """
    device = next(encoder.parameters()).device
    training = encoder.training
    encoder.eval()
    rows = []
    with torch.inference_mode():
        for at in range(0, len(prepared.windows), EMBED_AT_ONCE):
            batch = stack_windows(prepared.windows[at : at + EMBED_AT_ONCE])
            rows.append(encoder(*(batch[name].to(device) for name in encoder.inputs)).cpu().numpy())
    encoder.train(training)
    vectors = np.concatenate(rows)
    pairs = zip(prepared.start, prepared.start[1:], strict=False)
    return np.stack([pool(vectors[first:after], encoder.normalise) for first, after in pairs])
