"""What every modality does, and the values that pass between a modality and the engine. No modality's own rules.

An item is a mapping with exactly one of the members in FORMS, already told apart from embeddings. Encoded bytes
travel as {"bytes": b"..."}, whether they came as base64 in JSON, as a multipart part or as a raw body.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Item = Mapping[str, Any]
Array = npt.NDArray[Any]
Window = Mapping[str, Array]
"""One row for the graph: graph input name -> array without the batch axis."""

FORMS = {"base64": "encoded bytes", "text": "text", "values": "a series of numbers"}
"""The members that carry an item's content over HTTP, and what each carries."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one item, checked before the costly step they bound. Bytes are those after base64 decoding."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_seconds: float = 600.0
    max_tokens: int = 8192


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item ready for the graph: one or more windows, and the codes of what was done to it (`first_frame`, ...)."""

    windows: tuple[Window, ...]
    notices: tuple[str, ...] = ()


class Modality(Protocol):
    """Prepares items of one kind. Pure: the same item, params and limits give the same arrays, bit for bit."""

    @property
    def form(self) -> str:
        """The member of FORMS that this modality reads."""

    @property
    def media_types(self) -> tuple[str, ...]:
        """Media types it decodes, as prefixes such as `image/`; used for a declared type only, never to decode."""

    def prepare(self, item: Item, limits: Limits) -> Prepared:
        """Decode and prepare one item.

        Raises InvalidRequest for members it does not know, UnusableInput for content it cannot use,
        TooLarge beyond `limits`.
        """

    def narrow(self, limits: Limits) -> Limits:
        """The limits that an item of this model meets: those given, or the model's own where they are stricter."""

    def summarize(self, window: Window) -> npt.NDArray[np.float32]:
        """A few numbers on how a prepared window looks, float32 (s,), s fixed: what the applicability model measures.

        An encoder maps whatever it is given into the same space, so that its embeddings alone cannot tell a foreign
        input; such numbers can, because nothing learned to ignore what they count.
        """

    def bucket(self, window: Window) -> Hashable:
        """Windows of equal bucket may share a batch: after `collate` they have one shape."""

    def collate(self, windows: Sequence[Window]) -> dict[str, Array]:
        """Stack windows of one bucket: graph input name -> array (batch, ...)."""

    def examples(self) -> Sequence[Window]:
        """One synthetic window for each bucket, for warm-up and for measuring."""


@runtime_checkable
class Ragged(Modality, Protocol):
    """A modality that offers more: its windows differ in length until `collate` pads them, and may be padded less."""

    def length(self, window: Window) -> int:
        """Steps of a window before padding. An example's are those to which its bucket is padded."""

    def collate_to(self, windows: Sequence[Window], length: int) -> dict[str, Array]:
        """Stack windows of any buckets, padded to `length` steps, which none exceeds, as `collate` pads them."""


def stack(windows: Sequence[Window]) -> dict[str, Array]:
    """Collate windows of equal shapes by adding a leading batch axis."""
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}
