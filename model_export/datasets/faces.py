"""Labeled Faces in the Wild (Huang et al. 2007), the folds of its View 2 that are at hand, as JPEG items, untouched.

Expects images.zip and pairs.tsv; see the set's own README. Identity = unit = person. A file is called
Person_Name_NNNN.jpg, and pairs.tsv says which fold holds whom. The pictures are "funneled": an earlier step, outside
the encoder, has found each face, turned it upright and brought it to one place and size.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.recipe.data import FacesData


def read_splits(folder: Path, data: FacesData) -> Splits:
    """Cut by the official folds, which share nobody; of the training people some watch, drawn among those with two
    pictures, and people with one only train.
    """
    fold_of = _folds(folder / "pairs.tsv")
    if absent := {*data.training_folds, *data.held_out_folds} - set(fold_of.values()):
        raise CommandError(f"data: pairs.tsv has no fold {min(absent)}")
    with zipfile.ZipFile(folder / "images.zip") as archive:
        names = sorted(set(archive.namelist()) & set(fold_of))
        items: list[Item] = [{"bytes": archive.read(name)} for name in names]
    people = sorted({_person(name) for name in names})
    person = np.array([people.index(_person(name)) for name in names], np.int64)
    fold = np.array([fold_of[name] for name in names], np.int64)
    everything = LabelledItems(items, person, person, np.zeros_like(person), np.arange(len(items)), ("people",))
    trains, measured = np.isin(fold, data.training_folds), np.isin(fold, data.held_out_folds)
    numbers, pictures = np.unique(person[trains], return_counts=True)
    several = np.random.default_rng(data.seed).permutation(numbers[pictures > 1])
    if len(several) < data.validation + 2:
        raise CommandError("data.validation: too few people with two pictures are left to train on")
    watches = np.isin(person, several[: data.validation])
    folds = ", ".join(map(str, data.held_out_folds))
    return Splits(
        training=everything.select(trains & ~watches),
        validation=everything.select(trains & watches),
        calibration=everything.select(measured),
        test=None,
        test_population=f"the same people, of fold {folds}, cross-fitted by person",
    )


def _folds(path: Path) -> dict[str, int]:
    """Picture -> fold. Raises ValueError for a person of two folds, who would be trained on and measured."""
    fold_of: dict[str, int] = {}
    people: dict[str, int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            for name in (row["a"], row["b"]):
                fold_of[name] = int(row["fold"])
                if people.setdefault(_person(name), int(row["fold"])) != int(row["fold"]):
                    raise ValueError(f"{_person(name)} is in two folds")
    return fold_of


def _person(name: str) -> str:
    return name.rpartition("_")[0]
