"""Who is measured: disjoint sets of identities for calibration and for test, neither seen in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_export.datasets import LabelledItems
from model_export.datasets.omniglot import Run, read_drawings, read_runs, run_alphabets
from model_export.recipe import Recipe, data_folder


@dataclass(frozen=True)
class Populations:
    """`calibration` chooses thresholds, `test` verifies them; `runs` are one-shot trials on test identities."""

    calibration: LabelledItems
    test: LabelledItems
    runs: Sequence[Run]
    test_population: str


def read_populations(recipe: Recipe) -> Populations:
    """Omniglot: the ten evaluation alphabets of the official runs are test only, the other ten calibrate."""
    folder = data_folder(recipe)
    evaluation, runs = read_drawings(folder, "evaluation"), read_runs(folder)
    in_runs = np.isin(evaluation.group, sorted(run_alphabets(runs, evaluation)))
    test = evaluation.select(in_runs)
    names = ", ".join(evaluation.group_names[group] for group in np.unique(test.group))
    return Populations(
        calibration=evaluation.select(~in_runs),
        test=test,
        runs=runs,
        test_population=f"Omniglot drawings of the alphabets of the official runs: {names}",
    )
