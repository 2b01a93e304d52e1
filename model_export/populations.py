"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

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

READERS = {
    "omniglot": omniglot,
    "intents": intents,
    "fsdd": fsdd,
    "ecg_id": ecg_id,
    "keystrokes": keystrokes,
    "gait": gait,
    "har": har,
    "ucr": ucr,
    "signatures": signatures,
    "groceries": groceries,
    "xray": xray,
    "faces": faces,
}
"""Reader -> its module, whose `read_splits` takes the set's folder and its section of the recipe."""


def read_splits(chosen: recipe.Recipe) -> Splits:
    """The recipe's data, cut by identity. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder, data = recipe.data_folder(chosen), chosen.data
    try:
        splits: Splits = READERS[data.reader].read_splits(folder, data)
    except (KeyError, ValueError) as error:
        raise CommandError(f"{folder}: not what the reader {data.reader!r} expects: {error}") from error
    _check_apart(splits)
    return splits


OTHERS = {"signatures_dutch": signatures_dutch, "att_faces": att_faces}
"""Reader -> its module, whose `read_population` takes the set's folder."""


def read_other_population(chosen: recipe.External) -> OtherPopulation:
    """A population that an `[[external]]` section names. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder = recipe.set_folder(chosen.folder, "external.folder")
    try:
        population: OtherPopulation = OTHERS[chosen.reader].read_population(folder)
    except (KeyError, ValueError, OSError, IndexError) as error:
        raise CommandError(f"{folder}: not what the reader {chosen.reader!r} expects: {error}") from error
    return population


def _check_apart(splits: Splits) -> None:
    """No unit that is measured has trained or watched, and none that verifies has chosen."""
    known = {*splits.training.unit.tolist(), *splits.validation.unit.tolist()}
    chosen = set(splits.calibration.unit.tolist())
    verified = set() if splits.test is None else set(splits.test.unit.tolist())
    if splits.units_train:
        known = set()
    if known & (chosen | verified) or chosen & verified:
        raise CommandError("data: a unit is in two parts, so that its figures would flatter")
