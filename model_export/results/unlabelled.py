"""`unlabelled BUNDLE (--recipe RECIPE | --pairs FILE)`: how well evidence without labels holds, on labelled sets.

Identities are drawn by lot, half of them at most, as a collection whose labels are hidden: they only answer questions,
asked anew a few times of each collection. FNMR as it is told is compared with that of all matching pairs of the
collection, FMR of random pairs with that of the identities left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.core.evidence import Rate, estimate, fmr_at
from app.core.modalities.base import Item
from app.core.scoring import Float32, Metric, similarity_matrix
from model_export.card import Row, markdown_table
from model_export.measure import shown
from model_export.pairs import PairTable
from model_export.populations import read_other_population, read_splits
from model_export.recipe import Recipe
from model_export.subjects import Subject
from model_export.unlabelled.alike import RandomPairs, draw_together
from model_export.unlabelled.answered import TooFewAnswersError, read_answers
from model_export.unlabelled.asking import first_questions, next_questions
from model_export.unlabelled.calibrating import RANDOM, RANDOM_WORDS
from model_export.unlabelled.collecting import draw_strangers
from model_export.unlabelled.curve import Answers
from model_export.unlabelled.frame import Frame, build_frame
from model_export.unlabelled.hidden import claim_random

Integers = npt.NDArray[np.int64]

ANEW = 4
"""Times that questions are drawn of one collection."""
OTHERS = 2000
"""Items of identities left out, drawn by lot, on which FMR is looked up."""
HEADER = (
    "",
    "items",
    "pairs that match",
    "FMR elsewhere within its bound",
    "answers that match",
    "FNMR told",
    "true FNMR",
    "error (RMS)",
    "within its interval",
    "FMR elsewhere within its bound, after answers",
    "FMR of near pairs within its interval",
)


@dataclass(frozen=True)
class Labelled:
    """A set with its labels: what it is, its embeddings (items, d), and which thing each item shows, (items,)."""

    name: str
    vectors: Float32
    identity: Integers
    metric: Metric


@dataclass(frozen=True)
class Told:
    """FNMR at the default operating point, told and true; FMR there likewise: of random pairs elsewhere, and of near
    pairs of the collection, None where it is not told.
    """

    fnmr: tuple[Rate, float]
    random: tuple[Rate, float]
    near: tuple[Rate, float] | None


@dataclass(frozen=True)
class Trial:
    """One collection: its items, the share of its pairs that match, and FMR of random pairs at the default operating
    point before any answer, None where none is claimed. Of each time it was asked about: the answers that match, and
    what they told.
    """

    items: int
    matching: float
    random: tuple[Rate, float] | None
    found: tuple[int, ...]
    told: tuple[Told | None, ...]


def compare_unlabelled(
    sets: Iterable[Labelled], *, items: int, questions: Sequence[int], repeats: int, seed: int
) -> None:
    """Print a row for each set: collections of about so many items, asked `repeats` times in all, each time `questions`
    in as many rounds.
    """
    rows: list[Row] = [HEADER]
    for one in sets:
        rng = np.random.default_rng(seed)
        trials = [try_once(one, items, questions, rng) for _ in shown(range(-(-repeats // ANEW)), one.name)]
        rows.append(show_trials(one.name, trials))
    print("\n".join(["", *markdown_table(rows)]))


def embed_recipe(subject: Subject, recipe: Recipe) -> Iterator[Labelled]:
    """The held-out items of a recipe, and then those of the other populations that it names."""
    splits = read_splits(recipe)
    parts = [part for part in (splits.calibration, splits.test) if part is not None]
    items = [item for part in parts for item in part.items]
    yield _embed(subject, recipe.name, items, np.concatenate([part.identity for part in parts]))
    yield from embed_others(subject, recipe)


def embed_others(subject: Subject, recipe: Recipe) -> Iterator[Labelled]:
    """The items of each other population that the recipe names, without imitations."""
    for other in recipe.external:
        population = read_other_population(other)
        own = np.flatnonzero(population.imitates < 0)
        items = [population.items.items[at] for at in own.tolist()]
        yield _embed(subject, other.folder, items, population.items.identity[own])


def embed_table(subject: Subject, name: str, table: PairTable) -> Labelled:
    """The items of labelled pairs; those that match, directly or through others, show one thing."""
    return _embed(subject, name, table.items, table.unit_of_item)


def _embed(subject: Subject, name: str, items: Sequence[Item], identity: Integers) -> Labelled:
    rows = subject.embed(items)
    return Labelled(name, rows.vectors, identity[rows.kept], subject.metric)


def try_once(one: Labelled, items: int, questions: Sequence[int], rng: np.random.Generator) -> Trial:
    """Draw a collection, calibrate on it, have questions about it answered, and look up what is true."""
    own, others = _draw(one.identity, items, rng)
    frame = build_frame(one.vectors[own], np.arange(len(own)), one.metric)
    match = one.identity[own][frame.first] == one.identity[own][frame.second]
    units, strangers = draw_strangers(frame, np.arange(len(own)), 0)
    known = estimate(units, None, {RANDOM: strangers}, {RANDOM: RANDOM_WORDS}, guard_band=0.0, seed=0)
    foreign = _impostors(one, others)
    random = draw_together(known, frame, np.arange(len(own)))
    claimed = claim_random(random, len(own))
    default = [point for point in claimed["operating_points"] if point.name == claimed["defaults"].get(RANDOM)]
    asked = [_ask(frame, match, questions, rng) for _ in range(ANEW)]
    return Trial(
        items=len(own),
        matching=float(match.mean()),
        random=(default[0].fmr, float((foreign >= default[0].threshold).mean())) if default else None,
        found=tuple(int(match[places].sum()) for places in asked),
        told=tuple(_tell(frame, match, places, random, foreign) for places in asked),
    )


def _ask(frame: Frame, match: npt.NDArray[np.bool_], questions: Sequence[int], rng: np.random.Generator) -> Integers:
    asked = first_questions(frame, questions[0], rng)
    for count in questions[1:]:
        answers = Answers(frame.cell[asked].astype(np.int64), match[asked].astype(np.float64))
        asked = np.concatenate([asked, next_questions(frame, asked, answers, count, rng)])
    return asked


def _tell(
    frame: Frame, match: npt.NDArray[np.bool_], asked: Integers, pairs: RandomPairs, foreign: Float32
) -> Told | None:
    """What the answers to the pairs `asked` tell, beside what is true; None where they are too few."""
    answers = match[asked].astype(np.float64)
    try:
        answered = read_answers(frame, asked, answers, pairs, seed=0)
    except TooFewAnswersError:
        return None
    point = answered.default
    if point is None or point.fnmr is None:
        return None
    random, *near = (fmr_at(curve, point.threshold) for curve in answered.curves)
    higher = frame.score >= point.threshold
    return Told(
        fnmr=(point.fnmr, float((~higher[match]).mean())),
        random=(random, float((foreign >= point.threshold).mean())),
        near=(near[0], float(higher[frame.near & ~match].mean())) if near else None,
    )


def _draw(identity: Integers, items: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Places of all items of some identities, about so many, and of some items of those that are not among half."""
    order = rng.permutation(np.unique(identity))
    half, rest = np.array_split(order, 2)
    count = np.cumsum([(identity == one).sum() for one in half])
    own = np.flatnonzero(np.isin(identity, half[: 1 + np.searchsorted(count, items)]))
    others = np.flatnonzero(np.isin(identity, rest))
    return own, rng.permutation(others)[:OTHERS]


def _impostors(one: Labelled, places: Integers) -> Float32:
    """Scores of all pairs of these items that show two things."""
    vectors, identity = one.vectors[places], one.identity[places]
    apart = np.triu(identity[:, np.newaxis] != identity)
    return np.asarray(similarity_matrix(vectors, vectors, one.metric)[apart])


def show_trials(name: str, trials: Sequence[Trial]) -> Row:
    """The row of a set, below HEADER."""
    told = [told for one in trials for told in one.told]
    known = [one for one in told if one is not None]
    fnmr = np.array([(rate.value, true) for rate, true in (one.fnmr for one in known)]).reshape(-1, 2)
    return (
        name,
        f"{np.mean([one.items for one in trials]):.0f}",
        f"{100 * np.mean([one.matching for one in trials]):.2g} %",
        _share([one.random[1] <= one.random[0].high for one in trials if one.random is not None]),
        f"{np.mean([one.found for one in trials]):.0f}",
        _share([one is not None for one in told]),
        f"{fnmr[:, 1].mean():.2f}" if known else "",
        f"{np.sqrt(np.square(fnmr[:, 0] - fnmr[:, 1]).mean()):.3f}" if known else "",
        _share([_within(*one.fnmr) for one in known]),
        _share([one.random[1] <= one.random[0].high for one in known]),
        _share([_within(*one.near) for one in known if one.near is not None]),
    )


def _within(rate: Rate, true: float) -> bool:
    return rate.low <= true <= rate.high


def _share(held: Sequence[bool]) -> str:
    return f"{sum(held)} of {len(held)}"
