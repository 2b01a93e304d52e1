"""Which of several starts: each trains for a share of the minutes, and the best on the validation items is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.fitting.starts import Start
from model_export.training import train
from model_export.training.checkpoints import read_mark

SHARE, ALL = 0.1, 0.5
"""Share of the minutes that each start is tried for, and that all are at most."""
Write = Callable[[Path, Start, float], object]
"""Writes the recipe that begins so, for so many minutes, to a path."""


def choose_start(
    starts: Sequence[Start], write: Write, splits: Splits, *, minutes: float, folder: Path
) -> tuple[Start, float]:
    """The best start by validation AUC, the first of equals, and the minutes that are left; one alone is not tried.

    A start that cannot be trained is told and left. Raises CommandError where none can.
    """
    if len(starts) == 1:
        return starts[0], minutes
    share = min(SHARE, ALL / len(starts))
    found: list[tuple[float, Start]] = []
    for number, start in enumerate(starts, start=1):
        recipe = folder / f"{number}.toml"
        try:
            write(recipe, start, share * minutes)
            train(recipe, folder / str(number), fresh=True, splits=splits)
        except CommandError as error:
            print(f"tried, and left: {start.said}: {error}")
            continue
        mark = read_mark(folder / str(number))
        assert mark is not None  # train writes it
        auc = max(mark.best, mark.untrained_auc)
        print(f"tried for {share * minutes:.2g} minutes: validation AUC {auc:.4f}: {start.said}")
        found.append((auc, start))
    if not found:
        raise CommandError("no start could be trained; see above")
    best = max(found, key=lambda one: one[0])[1]
    print(f"chosen by validation AUC: {best.said}")
    return best, minutes * (1 - share * len(starts))
