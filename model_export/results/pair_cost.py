"""What a step costs, and how many pairs it teaches: the trainer's own steps, timed in turns.

In processor time of this process, which a neighbour's load does not stretch; so on one thread of the CPU only, where
it is the time that passes on an idle machine. What a round costs before its first step, such as mining anew, is
shared out over its steps.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.recipe import Recipe, SinglePairsMiner, read_recipe
from model_export.training import make_modality, make_network
from model_export.training.devices import held_threads, keep_freed_memory
from model_export.training.run_folder import RECIPE_FILE
from model_export.training.trainer import Trainer
from model_export.windows import prepare_items

WARM_STEPS = 3
"""Before the clock starts: caches and allocators are slow at first."""
TURNS = 25


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a step, and the pairs of items that its loss or its miner compares."""

    step_ms: float
    pairs: int


def check_timeable(recipe: Recipe) -> None:
    """Raises CommandError for a recipe whose steps processor time would not measure."""
    if recipe.compute.device != "cpu" or recipe.compute.threads != 1:
        raise CommandError('steps are timed on one thread: set compute.device = "cpu" and compute.threads = 1')


def measure_costs(runs: Sequence[Path], items: LabelledItems) -> list[Cost]:
    """Time steps of untrained encoders as the recipes of run folders say; these share the preparation of the items."""
    keep_freed_memory()
    with held_threads(1):
        trainers = _begin(runs, items)
        first = [_round_ms(trainer) for trainer in trainers]
        turns = [[_step_ms(trainer) for trainer in trainers] for _ in range(TURNS)]
    steps = [median(own) for own in zip(*turns, strict=True)]
    return [
        Cost(step + max(0.0, before - step) / trainer.recipe.schedule.check_every, _count_pairs(trainer))
        for trainer, before, step in zip(trainers, first, steps, strict=True)
    ]


def _begin(runs: Sequence[Path], items: LabelledItems) -> list[Trainer]:
    recipes = [read_recipe(run / RECIPE_FILE) for run in runs]
    modality = make_modality(recipes[0], runs[0])
    prepared = prepare_items(modality, items)
    return [
        Trainer.begin(recipe, items, prepared, make_network(recipe, modality, run), torch.device("cpu"))
        for recipe, run in zip(recipes, runs, strict=True)
    ]


def _round_ms(trainer: Trainer) -> float:
    """Of what a round does before its first step, and that step: the sampler mines when it is first asked."""
    trainer.start_round(0)
    for _ in range(WARM_STEPS):
        trainer.step(0, 1)
    began = time.process_time()
    trainer.start_round(1)
    trainer.step(0, 1)
    return 1000 * (time.process_time() - began)


def _step_ms(trainer: Trainer) -> float:
    began = time.process_time()
    trainer.step(0, 1)
    return 1000 * (time.process_time() - began)


def _count_pairs(trainer: Trainer) -> int:
    """Of the last batch: unordered pairs of all its items, or those of which each item is in one."""
    if trainer.last is None:
        raise ValueError("no step was taken")
    count = len(trainer.last[1])
    return count // 2 if isinstance(trainer.recipe.miner, SinglePairsMiner) else count * (count - 1) // 2
