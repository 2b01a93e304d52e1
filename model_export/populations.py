"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

from pathlib import Path

from model_export import recipe
from model_export.datasets import (
    Splits,
    ecg_id,
    folders,
    fsdd,
    gait,
    har,
    intents,
    item_tables,
    keystrokes,
    omniglot,
    pair_tables,
    ucr,
)
from model_export.duplicates import settle_copies
from model_export.errors import CommandError
from model_export.recipe import data as recipe_data
from model_export.recipe.own_data import FolderData, ItemsData, OwnData, PairsData
from model_export.split_plan import plan_lines
from model_export.splitting import check_parts, cut


def read_splits(chosen: recipe.Recipe, run: Path | None = None) -> Splits:
    """The recipe's data, cut by identity; one's own without copies across parts, which are listed in the folder `run`.

    The same recipe and data give the same parts, whichever command asks. Raises CommandError where the data is not
    there, or is not what the reader expects.
    """
    if isinstance(chosen.data, OwnData):
        return _read_own(chosen, chosen.data, run)
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


def _read_own(chosen: recipe.Recipe, data: OwnData, run: Path | None) -> Splits:
    """One's own data, read, cut and only then looked through for copies; the plan is printed."""
    kind = chosen.modality.name
    match data:
        case FolderData():
            listing, split_by = folders.read_folder(chosen.beside, data, kind), data.split_by
        case ItemsData():
            listing, split_by = item_tables.read_items(chosen.beside, data, kind), data.split_by
        case PairsData():
            listing, split_by = pair_tables.read_labelled(chosen.beside, data, kind), data.split_by
        case _:
            raise TypeError(f"no reader of {type(data).__name__}")
    splits = cut(listing, data, split_by)
    check_parts(splits, listing.origin)
    splits = settle_copies(splits, chosen.modality, data, run)
    if splits.dropped:
        check_parts(splits, f"{listing.origin}, without copies")
    for line in plan_lines(splits, hard=chosen.calibration.hard is not None):
        print(line)
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
