"""The Service: embed, compare and match, from raw items to judged results. HTTP-free; items.py says what an item is."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from app.core.bundle import Bundle
from app.core.errors import InvalidRequest, TwinserveError
from app.core.evidence import Choice, Judgement, Selectors, Side, choose_each, judge
from app.core.observe import Observer, Steps
from app.core.scoring import GUARD_BAND_FLOORS, Aggregation, compare
from app.runtime.engine import Encoded
from app.runtime.registry import Model, Registry
from app.service.describe import describe_model
from app.service.inference import encode
from app.service.items import Content, Given, Key, RawItem, read_item
from app.service.matching import Matched, Reference, gather, judge_references
from app.service.notices import Notice, look_at
from app.service.preparing import Preparer
from app.service.remote import Fetch, bring, bring_pairs
from app.service.shadow import Shadowing

OUTSIDE = "outside_calibration"
"""Notice of an input that /compare would give no verdict for."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Embeddings of one request: C-contiguous float32 (n, d), in the order of the inputs."""

    vectors: npt.NDArray[np.float32]
    bundle: Bundle
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judged pair. Pointers of notices are `/a` and `/b`; `pair`, `choice` and `provider` are for its record."""

    judgement: Judgement
    score: np.float32
    distance: np.float32
    bundle: Bundle
    notices: tuple[Notice, ...]
    pair: tuple[Content | Given, Content | Given]
    choice: Choice
    provider: str


SIDES: tuple[Side, Side] = ("a", "b")
_Read = Content | Given | TwinserveError
"""What reading a raw item gives."""


class Service:
    """The use cases over the models now served.

    `models` gives the snapshot that one request holds to its end, or raises NotReady while there is none; `executor`
    prepares large items; `today` says whether evidence is stale; `fetch` fetches URLs, None where no URL is taken;
    `shadowing` takes what versions on trial score too.
    """

    def __init__(
        self,
        models: Callable[[], Registry],
        observer: Observer,
        executor: Executor,
        today: Callable[[], date],
        *,
        fetch: Fetch | None = None,
        shadowing: Shadowing | None = None,
    ) -> None:
        self._models = models
        self._shadowing = shadowing
        self._observer = observer
        self._preparer = Preparer(executor)
        self._today = today
        self._fetch = fetch

    async def embed(self, model: str | None, inputs: Sequence[RawItem], *, steps: Steps | None = None) -> Embedded:
        """Embed all items or none; equal items are embedded once. `steps` gets what the items went through.

        Raises the first bad item's error with pointer `/inputs/<i>`, and what resolving the model or the queue raises.
        """
        served = self._models().get(model)
        if self._fetch is not None:
            with served.batcher.holders:
                inputs = await bring(inputs, served.encoder.modality, self._fetch)
        contents: list[Content] = []
        for index, raw in enumerate(inputs):
            try:
                item = read_item(raw, served.bundle, served.encoder.modality)
                if isinstance(item, Given):
                    raise InvalidRequest("this item is an embedding already; /embed takes content")
            except TwinserveError as error:
                raise error.at(f"/inputs/{index}") from None
            contents.append(item)
        sides = await self._encode(served, contents, steps or Steps())
        rows, notices = [], []
        for index, content in enumerate(contents):
            side = sides[content.key]
            if isinstance(side, TwinserveError):
                raise side.at(f"/inputs/{index}")
            codes = (*side.notices, OUTSIDE) if side.outside else side.notices
            rows.append(side.vector)
            notices += [Notice(code, f"/inputs/{index}") for code in codes]
        return Embedded(np.stack(rows), served.bundle, tuple(notices))

    async def compare(
        self,
        model: str | None,
        pairs: Sequence[tuple[RawItem, RawItem]],
        selectors: Selectors,
        prior: float | None,
        *,
        steps: Steps | None = None,
    ) -> list[Comparison | TwinserveError]:
        """Judge pairs, in order; equal items of the whole request are embedded once. `steps` gets their times.

        An item's error becomes the outcome of every pair that has the item, with pointer `/a` or `/b`. Raises what
        resolving the model, the selectors (before any item is looked at) or the queue raises.
        """
        registry = self._models()
        served = registry.get(model)
        choice = served.choose(selectors)
        if self._fetch is not None:
            with served.batcher.holders:
                pairs = await bring_pairs(pairs, served.encoder.modality, self._fetch)
        read = [(self._read(a, served), self._read(b, served)) for a, b in pairs]
        items = [item for pair in read for item in pair if not isinstance(item, TwinserveError)]
        steps = steps or Steps()
        sides = await self._encode(served, items, steps)
        began = time.perf_counter()
        results = [self._judge(pair, sides, served, choice, prior) for pair in read]
        steps.took("scoring", began, time.perf_counter())
        if self._shadowing is not None and (shadow := registry.shadow(served)) is not None:
            self._shadowing.offer(served, shadow, selectors, _answered(read, results))
        return results

    async def match(
        self,
        model: str | None,
        probe: RawItem,
        references: Sequence[Reference],
        aggregation: Aggregation,
        selectors: Selectors,
        *,
        steps: Steps | None = None,
    ) -> Matched:
        """Compare one item with each reference, and say which one it matches, if any; equal items are embedded once.
        `steps` gets what the items went through.

        Every reference has a score or there is no answer: raises the first bad item's error with pointer `/probe` or
        `/references/<i>/items/<j>`, and what resolving the model, the selectors (before any item is looked at) or the
        queue raises.
        """
        served = self._models().get(model)
        manifest, calibration = served.bundle.manifest, served.bundle.calibration
        floor = GUARD_BAND_FLOORS[manifest.graph.precision]
        sizes = [len(reference.items) for reference in references]
        choices = choose_each(calibration, manifest.status, selectors, sizes, aggregation, guard_band_floor=floor)
        if self._fetch is not None:
            with served.batcher.holders:
                probe, references = await self._bring_file(probe, references, served, self._fetch)
        file = gather(probe, references, lambda raw: read_item(raw, served.bundle, served.encoder.modality))
        steps = steps or Steps()
        sides = await self._encode(served, file.items, steps)
        began = time.perf_counter()
        matched = judge_references(
            file,
            sides,
            choices,
            aggregation,
            served.bundle,
            provider=served.encoder.provider,
            max_fmr=selectors.max_fmr,
            today=self._today(),
        )
        for reference in matched.references:
            self._observer.verdict(served.key, choices[reference.items].label, reference.judgement.verdict)
            if (
                reference.items == 1
            ):  # the highest or the mean of several lies elsewhere than what was measured of pairs
                self._observer.scored(served.key, float(reference.score))
        steps.took("scoring", began, time.perf_counter())
        return matched

    def meant_by(self, model: str | None) -> tuple[str, str]:
        """Name and version of the model that a request means. Raises UnknownModel, InvalidRequest, NotReady."""
        bundle = self._models().get(model).bundle
        return bundle.name, bundle.version

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

    @staticmethod
    async def _bring_file(
        probe: RawItem, references: Sequence[Reference], model: Model, fetch: Fetch
    ) -> tuple[RawItem, Sequence[Reference]]:
        raws = [probe, *(raw for reference in references for raw in reference.items)]
        brought, *others = await bring(raws, model.encoder.modality, fetch)
        items = iter(others)
        return brought, [Reference(one.id, list(islice(items, len(one.items)))) for one in references]

    async def _encode(
        self, model: Model, items: Sequence[Content | Given], steps: Steps
    ) -> dict[Key, Encoded | TwinserveError]:
        """Embed the distinct ones of these items; those that are embeddings stay as they are."""
        sides: dict[Key, Encoded | TwinserveError] = {}
        if contents := {item.key: item for item in items if isinstance(item, Content)}:
            outcomes = await encode(model, list(contents.values()), self._preparer, steps)
            sides.update(zip(contents, outcomes, strict=True))
        if given := {item.key: item for item in items if isinstance(item, Given)}:
            sides.update(zip(given, look_at(list(given.values()), model), strict=True))
        return sides

    def _judge(
        self,
        pair: tuple[_Read, _Read],
        sides: Mapping[Key, Encoded | TwinserveError],
        model: Model,
        choice: Choice,
        prior: float | None,
    ) -> Comparison | TwinserveError:
        a, b = pair
        left = a if isinstance(a, TwinserveError) else sides[a.key]
        if isinstance(a, TwinserveError) or isinstance(left, TwinserveError):
            return _blame(left, "/a")
        right = b if isinstance(b, TwinserveError) else sides[b.key]
        if isinstance(b, TwinserveError) or isinstance(right, TwinserveError):
            return _blame(right, "/b")
        bundle = model.bundle
        score, distance = compare(left.vector, right.vector, bundle.manifest.embedding.metric)
        placed = tuple(zip(SIDES, (left, right), strict=True))
        outside = [name for name, side in placed if side.outside]
        judgement = judge(choice, score, prior=prior, outside=outside, identical=a.key == b.key, today=self._today())
        key = bundle.key
        self._observer.verdict(key, choice.label, judgement.verdict)
        self._observer.scored(key, float(score))
        notices = tuple([Notice(code, f"/{name}") for name, side in placed for code in side.notices])
        return Comparison(judgement, score, distance, bundle, notices, (a, b), choice, model.encoder.provider)


def _blame(error: Encoded | TwinserveError, where: str) -> TwinserveError:
    """The error of one side as its pair's: a copy, since other pairs may have the same item."""
    assert isinstance(error, TwinserveError)
    return copy.copy(error).at(where)


def _answered(
    read: Sequence[tuple[_Read, _Read]], results: Sequence[Comparison | TwinserveError]
) -> list[tuple[tuple[Content | Given, Content | Given], str]]:
    """The pairs that have a verdict, with it."""
    return [
        ((a, b), result.judgement.verdict)
        for (a, b), result in zip(read, results, strict=True)
        if not isinstance(result, TwinserveError)
        and not isinstance(a, TwinserveError)
        and not isinstance(b, TwinserveError)
    ]
