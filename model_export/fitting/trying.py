"""Which of several starts: weights that are there as they are, and the small network after a little training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_export.datasets import Splits
from model_export.errors import CommandError
from model_export.fitting.recipes import lasting
from model_export.fitting.starts import Start
from model_export.training import train
from model_export.training.checkpoints import read_mark

SHARE = 0.1
"""Share of the minutes that the small network is tried for."""
AS_IT_IS = {"steps": 1}
"""The shortest training; what counts is the look before it."""
Write = Callable[[Path, Start, Mapping[str, Any]], object]
"""Writes the recipe that begins so, and trains for such a length, to a path."""


def choose_start(
    starts: Sequence[Start], write: Write, splits: Splits, *, minutes: float, folder: Path
) -> tuple[Start, Mapping[str, Any]]:
    """The best start by validation AUC, the first of equals, and the length that is left; one alone is not tried.

    A start that cannot be trained is told and left. Raises CommandError where none can.
    """
    if len(starts) == 1:
        return starts[0], lasting(minutes)
    found: list[tuple[float, Start]] = []
    for number, start in enumerate(starts, start=1):
        recipe, run = folder / f"{number}.toml", folder / str(number)
        try:
            write(recipe, start, AS_IT_IS if start.has_weights else lasting(SHARE * minutes))
            train(recipe, run, fresh=True, splits=splits)
        except CommandError as error:
            print(f"tried, and left: {start.said}: {error}")
            continue
        mark = read_mark(run)
        assert mark is not None  # train writes it
        auc = mark.untrained_auc if start.has_weights else max(mark.best, mark.untrained_auc)
        how = "as it is" if start.has_weights else f"after {SHARE * minutes:.2g} minutes"
        print(f"tried: validation AUC {auc:.4f} {how}: {start.said}")
        found.append((auc, start))
    if not found:
        raise CommandError("no start could be trained; see above")
    best = max(found, key=lambda one: one[0])[1]
    print(f"chosen by validation AUC: {best.said}")
    return best, lasting(minutes * (1 - SHARE))
