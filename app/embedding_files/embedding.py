"""Embedding the rows of a shard, in whatever process: an item that cannot be embedded is told, its neighbours go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiter
import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.errors import Internal, InvalidRequest, TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Limits, Prepared
from app.embedding_files.sources import Content, Row
from app.runtime.encoder import Encoder
from app.runtime.memory import keep_memory
from app.runtime.padding import bulk_trimming
from app.runtime.session import Device
from app.service.items import Blob, Given, RawItem, read_item

logger = logging.getLogger(__name__)

TOGETHER = 64
"""Items prepared at once: enough for the largest batch, few enough to hold."""
TOGETHER_BYTES = 4 * 1024 * 1024
"""Of items whose padding is cut to the longest beside them, as many as these bytes hold, prepared: the more there are,
the more are alike. Some five thousand texts of thirty tokens."""
JSON, TEXT, VALUES = ".json", "text", "values"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that an embedder is made from. Picklable."""

    bundle: Bundle
    limits: Limits
    device: Device
    threads: int
    cuda_memory_mb: int | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of the rows of a shard, in their order.

    `vectors` float32 (n, d) has a row of zeros where there is an error; `errors` is "code: detail" or None; `notices`
    are the codes of what was done to an item.
    """

    ids: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    errors: tuple[str | None, ...]
    notices: tuple[tuple[str, ...], ...]


class Embedder:
    """An encoder at work on rows, in a process that does nothing else. Raises BundleRefused, DeviceUnavailable."""

    def __init__(self, recipe: Recipe) -> None:
        keep_memory()
        self._encoder = Encoder(
            recipe.bundle, device=recipe.device, threads=recipe.threads, cuda_memory_mb=recipe.cuda_memory_mb
        )
        self._encoder.replay_golden()
        self._trimming = bulk_trimming(self._encoder)
        self._encoder.release_graph()
        self._limits = recipe.limits

    def embed(self, rows: Sequence[Row]) -> Embedded:
        """Embed all rows."""
        bundle = self._encoder.bundle
        vectors = np.zeros((len(rows), bundle.manifest.embedding.dimension), dtype=np.float32)
        errors: list[str | None] = [None] * len(rows)
        notices: list[tuple[str, ...]] = [()] * len(rows)
        for outcomes in self._prepared(rows):
            prepared: dict[int, Prepared] = {}
            for place, outcome in outcomes.items():
                if isinstance(outcome, TwinserveError):
                    errors[place] = _said(outcome)
                else:
                    prepared[place], notices[place] = outcome, outcome.notices
            for place, vector in self._run(prepared).items():
                if isinstance(vector, TwinserveError):
                    errors[place] = _said(vector)
                else:
                    vectors[place] = vector
        return Embedded(tuple(row.id for row in rows), vectors, tuple(errors), tuple(notices))

    def _prepared(self, rows: Sequence[Row]) -> Iterator[dict[int, Prepared | TwinserveError]]:
        """The rows prepared, by place, as many at a time as are embedded together."""
        outcomes: dict[int, Prepared | TwinserveError] = {}
        held = 0
        for place, row in enumerate(rows):
            outcome = outcomes[place] = self._prepare(row.content)
            if isinstance(outcome, Prepared):
                held += sum(array.nbytes for window in outcome.windows for array in window.values())
            if len(outcomes) >= TOGETHER if self._trimming is None else held >= TOGETHER_BYTES:
                yield outcomes
                outcomes, held = {}, 0
        if outcomes:
            yield outcomes

    def _prepare(self, content: Content) -> Prepared | TwinserveError:
        try:
            if isinstance(content, TwinserveError):
                return content
            raw = load(content, self._limits.max_body_bytes, self._encoder.modality.form)
            item = read_item(_told(raw, self._encoder.modality.form), self._encoder.bundle, self._encoder.modality)
            if isinstance(item, Given):
                raise InvalidRequest("this is an embedding already")
            return self._encoder.prepare(item.item, self._limits)
        except TwinserveError as error:
            return error
        except Exception:
            logger.exception("an item failed in preparation")
            return Internal("this item could not be prepared; the log says why")

    def _run(self, prepared: dict[int, Prepared]) -> dict[int, npt.NDArray[np.float32] | TwinserveError]:
        """Embed what is prepared, by place; where a run fails, each half anew, so that an item's failure is its own."""
        places = list(prepared)
        cut = None if self._trimming is None else self._trimming.cut
        try:
            return dict(zip(places, self._encoder.embed_prepared(list(prepared.values()), cut=cut), strict=True))
        except Internal as error:
            if len(places) == 1:
                return {places[0]: error}
            middle = len(places) // 2
            halves = ({place: prepared[place] for place in some} for some in (places[:middle], places[middle:]))
            return {place: vector for half in halves for place, vector in self._run(half).items()}


def load(content: Content, most_bytes: int, form: str) -> Any:
    """The content itself where it lies in a file. Raises UnusableInput for no such file, TooLarge, InvalidRequest.

    As over HTTP, JSON is an item; text is UTF-8, here without the line ends that close a file.
    """
    if not isinstance(content, Path):
        return content
    try:
        with content.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UnusableInput(f"the file cannot be read: {error.strerror}") from None
    if len(data) > most_bytes:
        raise TooLarge(f"the file has more than {most_bytes} bytes")
    if content.suffix.lower() == JSON:
        try:
            return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
        except ValueError:
            raise InvalidRequest("the file is no JSON") from None
    if form == TEXT:
        try:
            return data.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InvalidRequest("the file is no text in UTF-8") from None
    return data


def loaded(row: Row, recipe: Recipe, form: str) -> Row:
    """The row with what lies in its file, or with the error, for where the file cannot be reached."""
    try:
        return Row(row.id, load(row.content, recipe.limits.max_body_bytes, form))
    except TwinserveError as error:
        return Row(row.id, error)


def _told(content: Any, form: str) -> RawItem:
    """The item as the service would get it."""
    match content:
        case dict():
            return content
        case bytes():
            return Blob(content, None)
        case str() if form == TEXT:
            return {TEXT: content}
        case list() if form == VALUES:
            return {VALUES: content}
    raise InvalidRequest(f"this is no item that a model of {form} takes")


def _said(error: TwinserveError) -> str:
    return f"{error.code}: {error.detail}"
