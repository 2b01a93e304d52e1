"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

from model_export import recipe
from model_export.datasets import Splits, ecg_id, fsdd, gait, har, intents, keystrokes, omniglot, ucr
from model_export.errors import CommandError
from model_export.recipe import data as recipe_data


def read_splits(chosen: recipe.Recipe) -> Splits:
    """The recipe's data, cut by identity. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder, data = recipe.data_folder(chosen), chosen.data
    try:
        match data:
            case recipe_data.OmniglotData():
                splits = omniglot.read_splits(folder, data)
            case recipe_data.IntentsData():
                splits = intents.read_splits(folder, data)
            case recipe_data.FsddData():
                splits = fsdd.read_splits(folder, data)
            case recipe_data.EcgIdData():
                splits = ecg_id.read_splits(folder, data)
            case recipe_data.KeystrokesData():
                splits = keystrokes.read_splits(folder, data)
            case recipe_data.GaitData():
                splits = gait.read_splits(folder, data)
            case recipe_data.HarData():
                splits = har.read_splits(folder, data)
            case recipe_data.UcrData():
                splits = ucr.read_splits(folder, data)
    except (KeyError, ValueError) as error:
        raise CommandError(f"{folder}: not what the reader {data.reader!r} expects: {error}") from error
    _check_apart(splits)
    return splits


def _check_apart(splits: Splits) -> None:
    """No unit that is measured has trained or watched, and none that verifies has chosen."""
    known = {*splits.training.unit.tolist(), *splits.validation.unit.tolist()}
    chosen = set(splits.calibration.unit.tolist())
    verified = set() if splits.test is None else set(splits.test.unit.tolist())
    if splits.units_train:
        known = set()
    if known & (chosen | verified) or chosen & verified:
        raise CommandError("data: a unit is in two parts, so that its figures would flatter")
