"""A probe against a file of references that the caller brings: from read items to a judged file. No queue, no HTTP.

A reference's score is the highest or the mean of the scores of its items with the probe, each as /compare gives it:
float32. A mean is taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from app.core.bundle import Bundle
from app.core.errors import TwinserveError
from app.core.evidence import Choice, Judgement, Reason, Side, bound_family, conclude, judge
from app.core.scoring import Aggregation, Verdict, aggregate, similarity_matrix
from app.runtime.engine import Encoded
from app.service.items import Content, Given, Key, RawItem
from app.service.notices import Notice

_Item = Content | Given


@dataclass(frozen=True, slots=True)
class Reference:
    """What the caller has on file of one identity: one item or several."""

    id: str
    items: Sequence[RawItem]


@dataclass(frozen=True, slots=True)
class File:
    """A probe and the references that it is compared with, read: no item of them is bad by its form."""

    probe: _Item
    references: Sequence[tuple[str, Sequence[_Item]]]

    @property
    def items(self) -> list[_Item]:
        """All of them, the probe first."""
        return [self.probe, *(item for _, items in self.references for item in items)]

    def places(self) -> Iterator[tuple[_Item, str]]:
        """Each item with its pointer, in the order of `items`."""
        yield self.probe, "/probe"
        for index, (_, items) in enumerate(self.references):
            for number, item in enumerate(items):
                yield item, _pointer(index, number)


@dataclass(frozen=True, slots=True)
class JudgedReference:
    """One reference: how many items it has, its score, and what follows from it.

    `place` in the request, `compared` (the probe, then its items) and `choice` are for its record.
    """

    id: str
    items: int
    score: np.float32
    judgement: Judgement
    place: int
    compared: tuple[_Item, ...]
    choice: Choice


@dataclass(frozen=True, slots=True)
class Matched:
    """The answer on a file; `references` are all of them, the highest score first, equal ones as they were sent."""

    verdict: Verdict
    best: str | None
    reasons: tuple[Reason, ...]
    references: tuple[JudgedReference, ...]
    family: Mapping[str, Any]
    aggregation: Aggregation
    bundle: Bundle
    notices: tuple[Notice, ...]
    provider: str


def gather(probe: RawItem, references: Sequence[Reference], read: Callable[[RawItem], _Item]) -> File:
    """Read every item; raises the first bad one's error, with its pointer."""

    def read_at(raw: RawItem, pointer: str) -> _Item:
        try:
            return read(raw)
        except TwinserveError as error:
            raise error.at(pointer) from None

    return File(
        read_at(probe, "/probe"),
        [
            (reference.id, [read_at(raw, _pointer(index, number)) for number, raw in enumerate(reference.items)])
            for index, reference in enumerate(references)
        ],
    )


def judge_references(
    file: File,
    outcomes: Mapping[Key, Encoded | TwinserveError],
    choices: Mapping[int, Choice],
    aggregation: Aggregation,
    bundle: Bundle,
    *,
    provider: str,
    max_fmr: float | None,
    today: date,
) -> Matched:
    """Score and judge every reference, each where those with as many items are judged, and the file as a whole.

    Raises the first bad item's error, with its pointer: a file with a hole in it has no best.
    """
    placed = _all_placed(file, outcomes)
    scores = iter(_scores(file, placed, bundle))
    judged = []
    for place, (name, items) in enumerate(file.references):
        choice = choices[len(items)]
        own = np.array([next(scores) for _ in items], np.float32)
        score = np.float32(aggregate(own, "single" if len(items) == 1 else aggregation))
        judgement = judge(
            choice,
            score,
            prior=None,
            outside=_outside(placed[file.probe.key], [placed[item.key] for item in items]),
            identical=len({file.probe.key, *(item.key for item in items)}) <= len(items),
            today=today,
        )
        compared = (file.probe, *items)
        judged.append(JudgedReference(name, len(items), score, judgement, place, compared, choice))
    judged.sort(key=lambda reference: -float(reference.score))
    guard_band = next(iter(choices.values())).guard_band
    conclusion = conclude([one.score for one in judged], [one.judgement for one in judged], guard_band)
    return Matched(
        verdict=conclusion.verdict,
        best=None if conclusion.best is None else judged[conclusion.best].id,
        reasons=conclusion.reasons,
        references=tuple(judged),
        family=bound_family(choices, [len(items) for _, items in file.references], max_fmr),
        aggregation=aggregation,
        bundle=bundle,
        notices=tuple(Notice(code, at) for item, at in file.places() for code in placed[item.key].notices),
        provider=provider,
    )


def _all_placed(file: File, outcomes: Mapping[Key, Encoded | TwinserveError]) -> dict[Key, Encoded]:
    placed = {}
    for item, pointer in file.places():
        outcome = outcomes[item.key]
        if isinstance(outcome, TwinserveError):
            raise outcome.at(pointer)
        placed[item.key] = outcome
    return placed


def _scores(file: File, placed: Mapping[Key, Encoded], bundle: Bundle) -> list[np.float32]:
    """The probe's score with every item of every reference, in order."""
    probe, *rows = (placed[item.key].vector for item in file.items)
    return list(similarity_matrix(probe[np.newaxis], np.stack(rows), bundle.manifest.embedding.metric)[0])


def _outside(probe: Encoded, items: Sequence[Encoded]) -> list[Side]:
    sides: list[Side] = ["probe"] if probe.outside else []
    return [*sides, "reference"] if any(item.outside for item in items) else sides


def _pointer(reference: int, item: int) -> str:
    return f"/references/{reference}/items/{item}"
