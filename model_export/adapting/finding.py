"""Heads of every kind, fitted to the training items, and the one that is best on validation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from model_export.adapting.choosing import Validation, best_of, watched
from model_export.adapting.frozen import Frozen, embed_frozen
from model_export.adapting.heads import Head, no_head
from model_export.adapting.learning import Lesson, learn
from model_export.adapting.own import Own
from model_export.adapting.whitening import whitenings
from model_export.subjects import LocalSubject


@dataclass(frozen=True, eq=False)
class Chosen:
    """The head, validation's areas of the best of each kind, the validation items, and the seconds it took."""

    head: Head
    areas: Mapping[str, float]
    impostor: str
    validation: Frozen
    seconds: float

    @property
    def said(self) -> str:
        """The areas in words."""
        areas = ", ".join(f"{name} {area:.4f}" for name, area in self.areas.items())
        return f"ROC AUC on validation against {self.impostor} impostors: {areas}"


def find_head(old: LocalSubject, own: Own) -> Chosen:
    """The best head on validation; the best of each kind is printed."""
    began = time.monotonic()
    splits, normalise = own.splits, old.encoder.bundle.manifest.embedding.normalized
    training = embed_frozen(old.encoder, splits.training)
    frozen = embed_frozen(old.encoder, watched(splits.validation, own.seed))
    bare = no_head(training.rows.shape[1], normalise=normalise)
    validation = Validation.begin(frozen, old.metric, own, bare)
    found = [(bare, validation.look(bare))]
    if tried := list(whitenings(training.rows, training.identity_of_rows(), normalise=normalise)):
        found.append(best_of(tried, validation))
    start = max(found, key=_area)[0]
    lesson = Lesson(training, own.sampler, validation, own.seed)
    found += [learn(start, lesson, hidden=hidden) for hidden in (False, True)]
    for head, area in found:
        print(f"validation: {head.name:9}  ROC AUC {area:.4f}  {head.said}")
    head = max(found, key=_area)[0]  # of equals the first, which is the simpler
    areas = {one.name: area for one, area in found}
    return Chosen(head, areas, validation.impostor, frozen, time.monotonic() - began)


def _area(found: tuple[Head, float]) -> float:
    return found[1]
