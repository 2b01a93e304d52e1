"""The Service: embed and compare, from raw items to judged results. HTTP-free; what an item is, items.py says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.errors import InvalidRequest, TwinserveError
from app.core.evidence import Choice, Judgement, Selectors, choose, is_outside, judge
from app.core.observe import Observer
from app.core.scoring import GUARD_BAND_FLOORS, euclidean_distance, similarity
from app.runtime.registry import Model, Registry
from app.service.describe import describe_model
from app.service.inference import Encoded, encode
from app.service.items import Content, Given, Key, RawItem, read_item

INPUT_UNSEEN = "input_unseen"
"""Notice of a side that came as an embedding: whether its input was like those measured, only /embed could say."""
OUTSIDE = "outside_calibration"
"""Notice of an input that /compare would give no verdict for."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done to an item, such as `first_frame`; pointer to it as in errors."""

    code: str
    pointer: str


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embeddings of one request: C-contiguous float32 (n, d), in the order of the inputs."""

    vectors: npt.NDArray[np.float32]
    bundle: Bundle
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judged pair. Pointers of notices are `/a` and `/b`."""

    judgement: Judgement
    score: np.float32
    distance: np.float32
    bundle: Bundle
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One distinct item of a request, embedded, and the codes of what its user must know of it."""

    encoded: Encoded
    outside: bool
    notices: tuple[str, ...]


_Read = Content | Given | TwinserveError
"""What reading a raw item gives."""


class Service:
    """The use cases over the models now served.

    `models` gives the snapshot that one request holds to its end, or raises NotReady while there is none; `executor`
    prepares large items; `today` says whether evidence is stale.
    """

    def __init__(
        self, models: Callable[[], Registry], observer: Observer, executor: Executor, today: Callable[[], date]
    ) -> None:
        self._models = models
        self._observer = observer
        self._executor = executor
        self._today = today

    async def embed(self, model: str | None, inputs: Sequence[RawItem]) -> Embedded:
        """Embed all items or none; equal items are embedded once.

        Raises the first bad item's error with pointer `/inputs/<i>`, and what resolving the model or the queue raises.
        """
        served = self._models().get(model)
        contents: list[Content] = []
        for index, raw in enumerate(inputs):
            try:
                item = read_item(raw, served.bundle, served.encoder.modality)
                if isinstance(item, Given):
                    raise InvalidRequest("this item is an embedding already; /embed takes content")
            except TwinserveError as error:
                raise error.at(f"/inputs/{index}") from None
            contents.append(item)
        sides = self._place_all(await self._encode(served, contents), served)
        rows, notices = [], []
        for index, content in enumerate(contents):
            side = sides[content.key]
            if isinstance(side, TwinserveError):
                raise side.at(f"/inputs/{index}")
            codes = (*side.notices, OUTSIDE) if side.outside else side.notices
            rows.append(side.encoded.vector)
            notices += [Notice(code, f"/inputs/{index}") for code in codes]
        return Embedded(np.stack(rows), served.bundle, tuple(notices))

    async def compare(
        self,
        model: str | None,
        pairs: Sequence[tuple[RawItem, RawItem]],
        selectors: Selectors,
        prior: float | None,
    ) -> list[Comparison | TwinserveError]:
        """Judge pairs, in order; equal items of the whole request are embedded once.

        An item's error becomes the outcome of every pair that has the item, with pointer `/a` or `/b`. Raises what
        resolving the model, the selectors (before any item is looked at) or the queue raises.
        """
        served = self._models().get(model)
        manifest = served.bundle.manifest
        floor = GUARD_BAND_FLOORS[manifest.graph.precision]
        choice = choose(served.bundle.calibration, manifest.status, selectors, guard_band_floor=floor)
        read = [(self._read(a, served), self._read(b, served)) for a, b in pairs]
        items = [item for pair in read for item in pair if not isinstance(item, TwinserveError)]
        outcomes = await self._encode(served, [item for item in items if isinstance(item, Content)])
        outcomes |= {item.key: Encoded(item.vector, None) for item in items if isinstance(item, Given)}
        sides = self._place_all(outcomes, served)
        return [self._judge(pair, sides, served, choice, prior) for pair in read]

    def models(self) -> list[dict[str, Any]]:
        """Every served model, described. Raises NotReady."""
        registry = self._models()
        return [describe_model(model) for model in registry]

    def describe(self, name: str) -> dict[str, Any]:
        """One served model by name or name@version. Raises UnknownModel, NotReady."""
        return describe_model(self._models().get(name))

    def _read(self, raw: RawItem, model: Model) -> _Read:
        try:
            return read_item(raw, model.bundle, model.encoder.modality)
        except TwinserveError as error:
            return error

    async def _encode(self, model: Model, contents: Sequence[Content]) -> dict[Key, Encoded | TwinserveError]:
        distinct = {content.key: content for content in contents}
        outcomes = await encode(model, list(distinct.values()), self._observer, self._executor)
        return dict(zip(distinct, outcomes, strict=True))

    def _place_all(
        self, outcomes: Mapping[Key, Encoded | TwinserveError], model: Model
    ) -> dict[Key, _Side | TwinserveError]:
        """Look once at each distinct item, however often the request has it."""
        return {
            key: outcome if isinstance(outcome, TwinserveError) else self._place(outcome, model)
            for key, outcome in outcomes.items()
        }

    def _place(self, outcome: Encoded, model: Model) -> _Side:
        calibration = model.bundle.calibration
        if calibration is None:
            return _Side(outcome, False, outcome.notices)
        outside = is_outside(calibration.applicability, outcome.vector)
        if calibration.input_applicability is None:
            return _Side(outcome, outside, outcome.notices)
        if outcome.prepared is None:
            return _Side(outcome, outside, (INPUT_UNSEEN,))
        summary = model.encoder.summarize(outcome.prepared)
        return _Side(outcome, outside or is_outside(calibration.input_applicability, summary), outcome.notices)

    def _judge(
        self,
        pair: tuple[_Read, _Read],
        sides: Mapping[Key, _Side | TwinserveError],
        model: Model,
        choice: Choice,
        prior: float | None,
    ) -> Comparison | TwinserveError:
        placed: list[_Side] = []
        keys: list[Key] = []
        for name, item in zip("ab", pair, strict=True):
            side = item if isinstance(item, TwinserveError) else sides[item.key]
            if isinstance(item, TwinserveError) or isinstance(side, TwinserveError):
                assert isinstance(side, TwinserveError)
                return copy.copy(side).at(f"/{name}")  # a copy, since other pairs may have the same item
            placed.append(side)
            keys.append(item.key)
        left, right = (side.encoded.vector for side in placed)
        score = similarity(left, right, model.bundle.manifest.embedding.metric)
        judgement = judge(
            choice,
            score,
            prior=prior,
            outside=[name for name, side in zip("ab", placed, strict=True) if side.outside],
            identical=keys[0] == keys[1],
            today=self._today(),
        )
        self._observer.verdict(model.key, choice.label, judgement.verdict)
        notices = tuple(
            Notice(code, f"/{name}") for name, side in zip("ab", placed, strict=True) for code in side.notices
        )
        return Comparison(judgement, score, euclidean_distance(left, right), model.bundle, notices)
