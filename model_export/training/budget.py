"""How many steps a training takes: those of the recipe, or so many as fit its minutes at the speed measured here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from model_export.errors import CommandError
from model_export.recipe import Recipe
from model_export.training.run_folder import BUDGET_FILE, write_whole
from model_export.training.trainer import Trainer
from model_export.training.watch import Watch

WARM_STEPS = 3
"""Steps before the clock starts: caches, allocators and kernels are slow at first."""
TIMED_STEPS = 5
"""At least so many are timed."""
TIMED_SHARE, TIMED_SECONDS = 0.05, 10.0
"""Timing takes about this share of the budget, at most so many seconds."""


@dataclass(frozen=True)
class Budget:
    """A budget in minutes and the steps that it became."""

    minutes: float
    steps: int
    seconds_a_step: float
    seconds_a_look: float


def count_steps(recipe: Recipe, run: Path, watch: Watch, make_trainer: Callable[[], Trainer]) -> int:
    """The number of steps; a budget that the run folder holds already is kept, so that a run has one length.

    Timing moves the weights of a trainer that is then thrown away: a run of so many minutes gives the weights of a run
    of as many steps. Raises CommandError for a budget that ends before the warm-up does.
    """
    if recipe.schedule.steps is not None:
        return recipe.schedule.steps
    path = run / BUDGET_FILE
    if path.exists():
        try:
            steps = int(json.loads(path.read_text("utf-8"))["steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(f"{path}: damaged; remove it to measure the speed anew") from error
        print(f"{recipe.schedule.minutes:g} minutes: {steps} steps, as {BUDGET_FILE} says", file=sys.stderr)
        return steps
    budget = _measure(recipe, recipe.schedule.minutes or 0.0, watch, make_trainer())
    if budget.steps <= recipe.schedule.warmup_steps:
        raise CommandError(
            f"schedule.minutes: {budget.minutes:g} are {budget.steps} steps here, and schedule.warmup_steps is "
            f"{recipe.schedule.warmup_steps}: raise the one or lower the other"
        )
    write_whole(path, (json.dumps(asdict(budget), indent=1) + "\n").encode())
    print(
        f"{budget.minutes:g} minutes: {budget.steps} steps at {1 / budget.seconds_a_step:.1f} a second here, "
        f"written to {BUDGET_FILE}; schedule.steps = {budget.steps} repeats this run anywhere",
        file=sys.stderr,
    )
    return budget.steps


def _measure(recipe: Recipe, minutes: float, watch: Watch, trainer: Trainer) -> Budget:
    """Time steps and a look. What timing itself took is taken off the budget."""
    began = time.monotonic()
    trainer.start_round(0)
    for number in range(WARM_STEPS):
        trainer.step(number, WARM_STEPS)
    limit = min(TIMED_SECONDS, TIMED_SHARE * minutes * 60)
    start, taken = time.monotonic(), 0
    while taken < TIMED_STEPS or time.monotonic() - start < limit:
        trainer.step(0, 1)
        taken += 1
    step = (time.monotonic() - start) / taken
    start = time.monotonic()
    watch.look(trainer.exported)
    look = time.monotonic() - start
    left = minutes * 60 - (time.monotonic() - began) - look  # the untrained encoder is looked at as well
    steps = max(0, int(left / (step + look / recipe.schedule.check_every)))
    return Budget(minutes, steps, step, look)
