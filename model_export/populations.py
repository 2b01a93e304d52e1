"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model_export import recipe
from model_export.datasets import (
    OtherPopulation,
    Splits,
    att_faces,
    ecg_id,
    faces,
    fsdd,
    gait,
    groceries,
    har,
    intents,
    keystrokes,
    omniglot,
    signatures,
    signatures_dutch,
    ucr,
    xray,
)
from model_export.errors import CommandError

READERS: Mapping[str, Callable[[Path, Any], Splits]] = {
    "omniglot": omniglot.read_splits,
    "intents": intents.read_splits,
    "fsdd": fsdd.read_splits,
    "ecg_id": ecg_id.read_splits,
    "keystrokes": keystrokes.read_splits,
    "gait": gait.read_splits,
    "har": har.read_splits,
    "ucr": ucr.read_splits,
    "signatures": signatures.read_splits,
    "groceries": groceries.read_splits,
    "xray": xray.read_splits,
    "faces": faces.read_splits,
}


def read_splits(chosen: recipe.Recipe) -> Splits:
    """The recipe's data, cut by identity. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder, data = recipe.data_folder(chosen), chosen.data
    try:
        splits = READERS[data.reader](folder, data)
    except (KeyError, ValueError) as error:
        raise CommandError(f"{folder}: not what the reader {data.reader!r} expects: {error}") from error
    _check_apart(splits)
    return splits


OTHERS: Mapping[str, Callable[[Path], OtherPopulation]] = {
    "signatures_dutch": signatures_dutch.read_population,
    "att_faces": att_faces.read_population,
}


def read_other_population(chosen: recipe.External) -> OtherPopulation:
    """A population that an `[[external]]` section names. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder = recipe.set_folder(chosen.folder, "external.folder")
    try:
        return OTHERS[chosen.reader](folder)
    except (KeyError, ValueError, OSError, IndexError) as error:
        raise CommandError(f"{folder}: not what the reader {chosen.reader!r} expects: {error}") from error


def _check_apart(splits: Splits) -> None:
    """No unit that is measured has trained or watched, and none that verifies has chosen."""
    known = {*splits.training.unit.tolist(), *splits.validation.unit.tolist()}
    chosen = set(splits.calibration.unit.tolist())
    verified = set() if splits.test is None else set(splits.test.unit.tolist())
    if splits.units_train:
        known = set()
    if known & (chosen | verified) or chosen & verified:
        raise CommandError("data: a unit is in two parts, so that its figures would flatter")
