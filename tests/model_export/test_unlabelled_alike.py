"""Items that look alike are drawn together: their groups, and bounds of FMR that hold where things have many items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.core.evidence import estimate
from app.core.evidence.bounds import Bounded
from app.core.evidence.curves import lowest_threshold
from app.core.scoring import Float32, similarity_matrix
from model_export.unlabelled.alike import GROUP_ITEMS, RandomPairs, draw_together, group_alike
from model_export.unlabelled.calibrating import RANDOM
from model_export.unlabelled.collecting import draw_strangers
from model_export.unlabelled.frame import Frame, Integers, build_frame
from model_export.unlabelled.hidden import claim_random


def made(things: int, each: int, noise: float, rng: np.random.Generator) -> Float32:
    """Unit vectors, `each` around the centre of a thing of its own."""
    rows = np.repeat(rng.standard_normal((things, 24)), each, axis=0)
    rows = rows + noise * rng.standard_normal(rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def look_alikes(alike: int, things: int, each: int, rng: np.random.Generator) -> Float32:
    """Unit vectors, `each` of so many things, of which so many look alike."""
    centres = rng.standard_normal((things, 12))
    centres[:alike] = 0.7 * centres[:alike] + 3.0 * np.eye(12)[0]
    rows = np.repeat(centres, each, axis=0)
    rows = rows + 0.6 * rng.standard_normal(rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def framed(vectors: Float32) -> tuple[Frame, Integers]:
    """The frame of items that are each a unit, and these units."""
    unit = np.arange(len(vectors))
    return build_frame(vectors, unit, "cosine"), unit


def compared(frame: Frame, unit: Integers) -> RandomPairs:
    units, strangers = draw_strangers(frame, unit, 0)
    known = estimate(units, None, {RANDOM: strangers}, {RANDOM: "any"}, guard_band=0.0, seed=0)
    return draw_together(known, frame, unit)


def test_things_fall_whole_into_groups() -> None:
    frame, unit = framed(made(30, 10, 0.3, np.random.default_rng(1)))
    group = group_alike(frame, unit)
    assert len(np.unique(group)) == 300 / GROUP_ITEMS
    for thing in range(30):
        assert len(np.unique(group[thing * 10 : thing * 10 + 10])) == 1


@pytest.mark.parametrize(("things", "groups"), [(3, 3), (9, 9), (40, 40)])
def test_units_that_are_known_stay_together(things: int, groups: int) -> None:
    """However little its items look alike, a unit is in one group, and those known to be apart are not joined."""
    unit = np.tile(np.arange(things), 4)
    frame = build_frame(made(4 * things, 1, 0.0, np.random.default_rng(2)), unit, "cosine")
    group = group_alike(frame, unit)
    assert len(np.unique(group)) == groups
    assert len(np.unique(np.stack([unit, group]), axis=1).T) == things


def test_ten_items_make_seven_groups_and_equal_scores_do_no_harm() -> None:
    frame, unit = framed(np.tile(made(1, 1, 0.0, np.random.default_rng(3)), (10, 1)))
    assert len(np.unique(group_alike(frame, unit))) == 7


@pytest.mark.parametrize("seed", [1, 2])
def test_fmr_of_other_things_is_within_the_bound_of_a_collection_that_holds_few_look_alikes(seed: int) -> None:
    """Half of all things look alike, and by lot 6 of the 20 that ten items each show: 200 items seem to prove it."""
    rng = np.random.default_rng(seed)
    own, others = look_alikes(6, 20, 10, rng), look_alikes(300, 600, 1, rng)
    drawn = compared(*framed(own))
    true = similarity_matrix(others, others, "cosine")[np.triu_indices(len(others), k=1)]

    def claimed(random: RandomPairs) -> float:
        """The true FMR at the threshold that is claimed to have one of 0.1 at most."""
        (curve,) = claim_random(random, len(own))["impostor_curves"]
        threshold = lowest_threshold(curve, 0.1)
        assert threshold is not None
        return float((true >= threshold).mean())

    values = np.array(drawn.curve.value)
    assert claimed(drawn) <= 0.1
    assert claimed(replace(drawn, together=Bounded(values, values, values, 0.0))) > 0.11  # each item for itself
