"""Omniglot (Lake et al. 2015): drawings as PNG items, and the 20 official one-shot runs.

Expects background.npz, evaluation.npz and all_runs.zip in one folder; see the set's own README for the arrays.
Identity = unit = character, group = alphabet, source = drawer.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Run, Splits
from model_export.recipe.data import OmniglotData

EVALUATION_FROM = 100_000


def read_splits(folder: Path, data: OmniglotData) -> Splits:
    """Background alphabets train, but for the validation groups; of the evaluation alphabets those of the official
    runs are test only, the others calibrate.
    """
    background, evaluation = read_drawings(folder, "background"), read_drawings(folder, "evaluation")
    held_out = np.isin(np.array(background.group_names)[background.group], data.validation_groups)
    runs = read_runs(folder)
    in_runs = np.isin(evaluation.group, sorted(run_alphabets(runs, evaluation)))
    test = evaluation.select(in_runs)
    names = ", ".join(evaluation.group_names[group] for group in np.unique(test.group))
    return Splits(
        training=background.select(~held_out),
        validation=background.select(held_out),
        calibration=evaluation.select(~in_runs),
        test=test,
        test_population=f"Omniglot drawings of the alphabets of the official runs: {names}",
        runs=tuple(runs),
    )


def read_drawings(folder: Path, part: Literal["background", "evaluation"]) -> LabelledItems:
    """All drawings of one part as 105x105 one-bit PNG items, black ink on white, as the original files have them."""
    with np.load(folder / f"{part}.npz", allow_pickle=False) as arrays:
        ink = np.unpackbits(arrays["ink"], axis=2)[:, :, :105]
        # Both parts number their characters from 0.
        character = arrays["class_id"].astype(np.int64) + (EVALUATION_FROM if part == "evaluation" else 0)
        return LabelledItems(
            [{"bytes": _png(drawing)} for drawing in ink],
            character,
            character,
            arrays["alphabet"].astype(np.int64),
            arrays["drawer"].astype(np.int64),
            tuple(str(name) for name in arrays["alphabet_names"]),
        )


def _png(ink: npt.NDArray[np.uint8]) -> bytes:
    file = BytesIO()
    Image.fromarray((ink == 0).astype(np.uint8) * 255).convert("1").save(file, "PNG")
    return file.getvalue()


def read_runs(folder: Path) -> list[Run]:
    """The 20 official runs with their PNG files as published."""
    runs = []
    with zipfile.ZipFile(folder / "all_runs.zip") as archive:
        for labels in sorted(name for name in archive.namelist() if name.endswith("class_labels.txt")):
            pairs = [line.split() for line in archive.read(labels).decode().splitlines() if line.strip()]
            base = PurePosixPath(labels).parent.parent
            classes = sorted({answer for _, answer in pairs})
            runs.append(
                Run(
                    tests=[{"bytes": archive.read(str(base / test))} for test, _ in pairs],
                    training=[{"bytes": archive.read(str(base / name))} for name in classes],
                    answer=np.array([classes.index(answer) for _, answer in pairs], np.int64),
                )
            )
    return runs


def run_alphabets(runs: list[Run], evaluation: LabelledItems) -> frozenset[int]:
    """The alphabets that occur in the official runs, found by comparing pixels with the evaluation drawings."""
    alphabet_of = {_pixels(item): int(group) for item, group in zip(evaluation.items, evaluation.group, strict=True)}
    return frozenset(alphabet_of[_pixels(item)] for run in runs for item in [*run.tests, *run.training])


def _pixels(item: Item) -> bytes:
    return np.asarray(Image.open(BytesIO(item["bytes"])).convert("L")).tobytes()
