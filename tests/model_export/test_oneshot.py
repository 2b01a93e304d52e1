"""Trials made of any labelled items: who is compared with whom, and what the interval rests on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems
from model_export.oneshot import WAYS, hits_by_group, mean_over_groups

ALPHABETS, CHARACTERS, DRAWERS = 3, 24, 4


def drawings() -> LabelledItems:
    """Every drawer draws every character of every alphabet once."""
    alphabet, character, drawer = np.indices((ALPHABETS, CHARACTERS, DRAWERS)).reshape(3, -1)
    identity = alphabet * CHARACTERS + character
    items: list[Item] = [{"bytes": b""}] * len(identity)
    return LabelledItems(items, identity, identity, alphabet, drawer, ("first", "second", "third"))


def perfect(items: LabelledItems) -> npt.NDArray[np.float32]:
    return np.eye(ALPHABETS * CHARACTERS, dtype=np.float32)[items.identity]


def test_every_ordered_pair_of_drawers_gives_twenty_trials_in_each_alphabet() -> None:
    items = drawings()
    hits = hits_by_group(perfect(items), items)
    assert list(hits) == ["first", "second", "third"]
    for one in hits.values():
        assert one.shape == (DRAWERS * (DRAWERS - 1) * WAYS,)
        assert one.all()


def test_a_random_encoder_is_right_once_in_twenty_and_a_constant_one_never() -> None:
    items = drawings()
    random = np.random.default_rng(0).normal(size=(len(items), 16)).astype(np.float32)
    accuracy = np.mean([one.mean() for one in hits_by_group(random, items).values()])
    assert 0.02 < accuracy < 0.09  # 720 trials of chance 0.05: four standard deviations
    constant = np.ones((len(items), 2), np.float32)
    assert not any(one.any() for one in hits_by_group(constant, items).values())


def test_trials_stay_within_one_alphabet() -> None:
    items = drawings()
    # a character of one alphabet looks like that of the same place in every other: no trial may see both
    vectors = np.eye(CHARACTERS, dtype=np.float32)[items.identity % CHARACTERS]
    assert all(one.all() for one in hits_by_group(vectors, items).values())


def test_the_draw_is_the_same_for_every_encoder() -> None:
    items = drawings()
    spoilt = perfect(items)
    spoilt[items.identity == 0] = spoilt[items.identity == 1]
    first, again = hits_by_group(spoilt, items, seed=3), hits_by_group(spoilt, items, seed=3)
    assert np.array_equal(first["first"], again["first"])
    assert not first["first"].all()
    assert not np.array_equal(first["first"], hits_by_group(spoilt, items, seed=4)["first"])


def test_few_shared_identities_make_smaller_trials_and_one_makes_none() -> None:
    items = drawings()
    kept = items.select((items.group != 1) | (items.identity % CHARACTERS < 5))
    assert hits_by_group(perfect(kept), kept)["second"].shape == (DRAWERS * (DRAWERS - 1) * 5,)
    alone = items.select((items.group != 1) | (items.identity % CHARACTERS < 1))
    assert list(hits_by_group(perfect(alone), alone)) == ["first", "third"]


def test_the_interval_is_over_alphabets_that_weigh_the_same() -> None:
    hits = {"easy": np.ones(10, np.bool_), "easier": np.ones(1000, np.bool_), "hard": np.arange(100) < 40}
    rate = mean_over_groups(hits, 60, draws=1000, seed=0)
    assert abs(rate.value - 0.8) < 1e-9
    assert rate.low <= 0.4 + 1e-9
    assert rate.high >= 0.99
    alike = {name: np.arange(100) < 80 for name in "abc"}
    narrow = mean_over_groups(alike, 60, draws=1000, seed=0)
    assert narrow.high - narrow.low < 0.1
