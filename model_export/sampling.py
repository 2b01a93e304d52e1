"""Batches of m items a class: drawn over all groups, within few groups, or among identities that the encoder confuses.

The first two kinds are pytorch-metric-learning's samplers. They draw from the generator that `seed_everything` sets.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from pytorch_metric_learning.samplers import HierarchicalSampler, MPerClassSampler
from pytorch_metric_learning.utils import common_functions
from sklearn.neighbors import NearestNeighbors

from model_export import recipe
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.linked_batches import linked_batches

MOST_COMBINATIONS = 2000
"""Combinations of groups that the hierarchical sampler may list; of 500 groups two give 125,000."""

Embed = Callable[[], npt.NDArray[np.float32]]
"""Embeds every training item with the weights of now: float32 (items, d)."""


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch, random, numpy's global state, and pytorch-metric-learning, which draws from that global state."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    common_functions.NUMPY_RANDOM = np.random.RandomState(seed)
    return np.random.default_rng(seed)


def class_labels(items: LabelledItems) -> npt.NDArray[np.int64]:
    """Each item's identity as 0, 1, ... without gaps, as losses of class vectors take them: int64 (items,)."""
    return np.asarray(np.unique(items.identity, return_inverse=True)[1], np.int64)


def check_batches(items: LabelledItems, choice: recipe.Sampler) -> None:
    """Raise CommandError where the items have too few identities or groups for a batch."""
    identities, groups = len(np.unique(items.identity)), len(np.unique(items.group))
    if choice.classes > identities:
        raise CommandError(f"sampler.classes: {choice.classes} in a batch, and only {identities} train")
    if choice.grouped_share and items.pairs is None and choice.groups > groups:
        raise CommandError(f"sampler.groups: {choice.groups} in a batch, and the training items have {groups}")


def endless_batches(
    items: LabelledItems, choice: recipe.Sampler, generator: np.random.Generator, embed: Embed | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield index arrays, int64 (classes * per_class,) or fewer where few groups have too few classes.

    `embed` is called once, before the first batch, and only where some are mined anew. Raises what check_batches does.
    """
    check_batches(items, choice)
    size = choice.classes * choice.per_class
    spread = MPerClassSampler(items.identity, choice.per_class, batch_size=size, length_before_new_iter=size * 50)
    all_groups = itertools.chain.from_iterable(_chunks(iter(spread), size) for _ in itertools.count())
    few_groups = _few_groups(items, choice, generator) if choice.grouped_share else all_groups
    confused = _confused(items, choice, generator, embed) if choice.remined_share else all_groups
    while True:
        drawn = generator.random()
        if drawn < choice.grouped_share:
            source = few_groups
        else:
            source = confused if drawn < choice.grouped_share + choice.remined_share else all_groups
        yield np.asarray(next(source), np.int64)


def nearest_identities(
    vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """For each identity the `count` others whose mean embeddings are nearest to its own, the nearest first.

    vectors float32 (items, d); labels 0..classes-1, int64 (items,); gives int64 (classes, count). By the distance of
    the means as they are, so that an identity whose items are spread, and whose mean is short, counts as near to many.
    """
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]))
    np.add.at(sums, labels, vectors)
    means = sums / np.bincount(labels)[:, np.newaxis]
    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(means).kneighbors(return_distance=False)
    return np.asarray(nearest, np.int64)


def _confused(
    items: LabelledItems, choice: recipe.Sampler, generator: np.random.Generator, embed: Embed | None
) -> Iterator[list[int]]:
    """Batches of drawn identities, each followed by those that the encoder takes for it."""
    if embed is None:
        raise ValueError("a sampler that mines anew needs the embeddings of all training items")
    labels = class_labels(items)
    nearest = nearest_identities(embed(), labels, choice.neighbours)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])

    def draw() -> list[int]:
        chosen: dict[int, None] = {}  # an ordered set
        for seed in generator.permutation(len(nearest)).tolist():
            if len(chosen) >= choice.classes:
                break
            chosen |= dict.fromkeys([seed, *nearest[seed].tolist()])
        batch: list[int] = []
        for identity in list(chosen)[: choice.classes]:
            few = len(members[identity]) < choice.per_class
            batch += generator.choice(members[identity], choice.per_class, replace=few).tolist()
        return batch

    return (draw() for _ in itertools.count())


def _few_groups(
    items: LabelledItems, choice: recipe.Sampler, generator: np.random.Generator
) -> Iterator[list[int] | npt.NDArray[np.int64]]:
    if items.pairs is not None:
        return linked_batches(items, choice, generator)
    groups = np.unique(items.group)
    if math.comb(len(groups), choice.groups) > MOST_COMBINATIONS:
        return _drawn_groups(items, choice, generator)
    return _all_combinations(items, np.arange(len(items)), choice)


def _drawn_groups(
    items: LabelledItems, choice: recipe.Sampler, generator: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """As all combinations of groups would give, one drawn at a time: the sampler lists them all before each pass."""
    groups = np.unique(items.group)
    while True:
        chosen = generator.choice(groups, choice.groups, replace=False)
        places = np.flatnonzero(np.isin(items.group, chosen))
        yield places[next(_all_combinations(items, places, choice))]


def _all_combinations(
    items: LabelledItems, places: npt.NDArray[np.int64], choice: recipe.Sampler
) -> Iterator[list[int]]:
    grouped = HierarchicalSampler(
        np.stack([items.identity, items.group], axis=1)[places],
        batch_size=choice.classes * choice.per_class,
        samples_per_class=choice.per_class,
        batches_per_super_tuple=1,
        super_classes_per_batch=choice.groups,
    )
    return itertools.chain.from_iterable(iter(grouped) for _ in itertools.count())


def _chunks(indices: Iterator[int], size: int) -> Iterator[list[int]]:
    while chunk := list(itertools.islice(indices, size)):
        yield chunk
