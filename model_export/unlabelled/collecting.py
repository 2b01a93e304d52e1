"""A collection as it is compared: read, embedded, its pairs framed, and the pairs of a sheet found among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.core.evidence import PairScores, Units
from app.core.modalities.base import Item
from model_export.comparing import MAX_UNIT_PAIRS
from model_export.datasets.item_files import digest_item
from model_export.errors import CommandError
from model_export.measure import Embeddings, shown
from model_export.subjects import LocalSubject
from model_export.unlabelled.frame import MAX_ITEMS, Float64, Frame, Integers, build_frame
from model_export.unlabelled.reading import read_collection, units_of
from model_export.unlabelled.sheet import Question


@dataclass(frozen=True)
class Collection:
    """The items that could be embedded, what a sheet calls each and the key it finds it by, `rows` of all items, and
    the unit of each of these, (embedded,). The frame is over those at `places`, all but of a large collection.
    """

    items: Sequence[Item]
    names: tuple[str, ...]
    keys: tuple[str, ...]
    rows: Embeddings
    unit: Integers
    unit_word: str
    places: Integers
    frame: Frame

    def find(self, questions: Sequence[Question]) -> Integers:
        """Where the pairs of these questions stand in the frame, (questions,). Raises CommandError, naming the row."""
        place = {self.keys[at]: number for number, at in enumerate(self.places.tolist())}
        count, codes = len(self.places), []
        for one in questions:
            if one.a_key not in place or one.b_key not in place:
                raise CommandError(f"row {one.number} of the sheet: its items are not in this collection")
            low, high = sorted((place[one.a_key], place[one.b_key]))
            codes.append(low * count + high)
        held = self.frame.first.astype(np.int64) * count + self.frame.second
        found = np.flatnonzero(np.isin(held, codes))
        at = dict(zip(held[found].tolist(), found.tolist(), strict=True))
        if missing := [one.number for one, code in zip(questions, codes, strict=True) if code not in at]:
            raise CommandError(f"row {missing[0]} of the sheet: its items are of one unit, and are not compared")
        return np.array([at[code] for code in codes], np.int64)

    def question(self, number: int, pair: int) -> Question:
        """The question about a pair of the frame, its sides by lot, so that their order says nothing."""
        ends = [int(self.places[self.frame.first[pair]]), int(self.places[self.frame.second[pair]])]
        a, b = sorted(ends, key=lambda place: self.keys[place])
        return Question(number, self.names[a], self.names[b], "", self.keys[a], self.keys[b])


def open_collection(subject: LocalSubject, path: Path) -> Collection:
    """Read, embed and frame the collection at `path`; what is refused or left out is told.

    Of more than MAX_ITEMS items those with the lowest digests are compared, so that items added later change little.
    Raises CommandError for what cannot be read, and for fewer than ten items.
    """
    listing = read_collection(path, subject.preparation.name)
    rows = subject.embed(listing.items)
    for code, share in rows.failure_to_acquire.items():
        print(f"{share:.2%} of the items are refused: {code}")
    kept = np.flatnonzero(rows.kept).tolist()
    items = listing.items.pick(kept)
    said = units_of(listing)
    units = [said[at] for at in kept] if said is not None else [str(at) for at in kept]
    unit = np.unique(np.array(units), return_inverse=True)[1].astype(np.int64)
    names, keys = [], []
    for place, item in zip(kept, shown(items, "reading"), strict=True):
        names.append(str(item["text"]) if "text" in item else listing.names[place])
        whose = "" if said is None else said[place]
        keys.append(hashlib.sha256(digest_item(item) + whose.encode()).hexdigest()[:16])
    places = np.sort(np.argsort(np.array(keys), kind="stable")[:MAX_ITEMS])
    if len(places) < len(kept):
        print(f"{len(places)} of {len(kept)} items are compared, drawn by their digests")
    frame = build_frame(rows.vectors[places], unit[places], subject.metric)
    word = "item" if said is None else "unit of the collection"
    return Collection(items, tuple(names), tuple(keys), rows, unit, word, places, frame)


def draw_strangers(frame: Frame, unit: Integers, seed: int) -> tuple[Units, PairScores]:
    """Random pairs of two units: all of the frame, or so many as can be resampled; unit (items,) of its items."""
    names, number = np.unique(unit, return_inverse=True)
    pairs = np.arange(len(frame))
    if len(pairs) > MAX_UNIT_PAIRS:
        pairs = np.sort(np.random.default_rng(seed).choice(len(pairs), MAX_UNIT_PAIRS, replace=False))
    return Units(len(names)), PairScores(frame.score[pairs], number[frame.first[pairs]], number[frame.second[pairs]])


def tell_answers(own: Collection, questions: Sequence[Question]) -> tuple[Integers, Float64]:
    """Where the answered pairs stand in the frame, and whether each matches: int64 and float64 (answers,). How many
    there are is told, and what is open or was beyond telling. Raises CommandError where none is answered.
    """
    known = [one for one in questions if one.answer is not None]
    if not known:
        raise CommandError("no question of the sheet is answered yet")
    places = own.find(known)
    unsure = sum(one.match == "?" for one in questions)
    still = len(questions) - len(known) - unsure
    left_out = [f"{unsure} could not be told"] * (unsure > 0) + [f"{still} are still open"] * (still > 0)
    match = np.array([float(bool(one.answer)) for one in known])
    print(f"{len(known)} answers: {int(match.sum())} match" + "".join(f"; {one}" for one in left_out))
    return places, match
