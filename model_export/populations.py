"""Which reader understands a recipe's data. What a reader gives is Splits; see model_export/datasets."""

from __future__ import annotations

from pathlib import Path

from model_export import recipe
from model_export.datasets import (
    OtherPopulation,
    Splits,
    att_faces,
    ecg_id,
    faces,
    folders,
    fsdd,
    gait,
    groceries,
    har,
    intents,
    item_tables,
    keystrokes,
    omniglot,
    pair_tables,
    signatures,
    signatures_dutch,
    ucr,
    xray,
)
from model_export.datasets.listing import Listing
from model_export.duplicates import settle_copies
from model_export.errors import CommandError
from model_export.recipe.own_data import FolderData, ItemsData, OwnChoice, OwnData, PairsData
from model_export.split_plan import plan_lines
from model_export.splitting import check_parts, cut

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


def read_splits(chosen: recipe.Recipe, run: Path | None = None) -> Splits:
    """The recipe's data, cut by identity; one's own without copies across parts, which are listed in the folder `run`.

    The same recipe and data give the same parts, whichever command asks. Raises CommandError where the data is not
    there, or is not what the reader expects.
    """
    if isinstance(chosen.data, OwnData):
        return split_own(read_listing(chosen.beside, chosen.data, chosen.modality.name), chosen, run)
    folder, data = recipe.data_folder(chosen), chosen.data
    try:
        splits: Splits = READERS[data.reader].read_splits(folder, data)
    except (KeyError, ValueError) as error:
        raise CommandError(f"{folder}: not what the reader {data.reader!r} expects: {error}") from error
    _check_apart(splits)
    return splits


def split_own(listing: Listing, chosen: recipe.Recipe, run: Path | None = None) -> Splits:
    """The parts of a recipe of one's own data, which was read already; the plan is printed. Errors as read_splits."""
    assert isinstance(chosen.data, OwnData)
    splits = cut_own(listing, chosen.data, chosen.modality, run)
    for line in plan_lines(splits, hard=chosen.calibration.hard is not None):
        print(line)
    return splits


def cut_own(listing: Listing, data: OwnChoice, modality: recipe.ModalityChoice, run: Path | None = None) -> Splits:
    """One's own data cut, and only then looked through for copies. Raises CommandError where a part is left without."""
    splits = cut(listing, data)
    check_parts(splits, listing.origin)
    splits = settle_copies(splits, modality, data, run)
    if splits.dropped:
        check_parts(splits, f"{listing.origin}, without copies")
    return splits


def read_listing(beside: Path, data: OwnChoice, modality: str) -> Listing:
    """One's own data before it is cut; its paths are relative to `beside`. Raises CommandError as the readers do."""
    match data:
        case FolderData():
            return folders.read_folder(beside, data, modality)
        case ItemsData():
            return item_tables.read_items(beside, data, modality)
        case PairsData():
            return pair_tables.read_labelled(beside, data, modality)


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
