"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

from model_export import recipe
from model_export.datasets import Splits, ecg_id, fsdd, gait, har, intents, keystrokes, omniglot, ucr
from model_export.errors import CommandError


def read_splits(chosen: recipe.Recipe) -> Splits:
    """The recipe's data, cut by identity. Raises CommandError where TWINSERVE_DATA does not hold it."""
    folder, data = recipe.data_folder(chosen), chosen.data
    try:
        match data:
            case recipe.OmniglotData():
                splits = omniglot.read_splits(folder, data)
            case recipe.IntentsData():
                splits = intents.read_splits(folder, data)
            case recipe.FsddData():
                splits = fsdd.read_splits(folder, data)
            case recipe.EcgIdData():
                splits = ecg_id.read_splits(folder, data)
            case recipe.KeystrokesData():
                splits = keystrokes.read_splits(folder, data)
            case recipe.GaitData():
                splits = gait.read_splits(folder, data)
            case recipe.HarData():
                splits = har.read_splits(folder, data)
            case recipe.UcrData():
                splits = ucr.read_splits(folder, data)
    except (KeyError, ValueError) as error:
        raise CommandError(f"{folder}: not what the reader {data.reader!r} expects: {error}") from error
    return splits
