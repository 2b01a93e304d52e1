"""Sets of the UCR and UEA archives (Dau et al. 2018, Bagnall et al. 2018): short series of a few classes, untimed.

Expects ts_files.zip with NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts as published. Identity = unit = class; what a class
is differs by set (a leaf's shape, a gesture, a speaker). group = set, so that a hard impostor is another class of the
same set.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.recipe.data import UcrData


def read_splits(folder: Path, data: UcrData) -> Splits:
    """Cut each set by class, in the share that the recipe names; the series of both official parts are taken.

    With a share of 0 the sets are cut as their archives do: the training part trains, the test part is measured. Its
    classes then did train, so that it says how well series are classified, and nothing about classes never seen.
    """
    everything, official = _read(folder / "ts_files.zip", data.sets)
    held_out = np.array(list(_draw(everything, data)), np.int64)
    unseen = np.isin(everything.identity, held_out) if data.held_out else official
    words = f"{len(held_out)} classes that did not train" if data.held_out else "the official test part, classes known"
    # The training parts are small, and nothing is chosen by the figure that is watched: no series is kept aside.
    training = everything.select(~unseen)
    return Splits(
        training=training,
        validation=training,
        calibration=everything.select(unseen),
        test=None,
        units_train=not data.held_out,
        test_population=f"{words}, of {', '.join(data.sets)}",
    )


def _draw(everything: LabelledItems, data: UcrData) -> Iterator[int]:
    """The classes held out. Raises CommandError where a set keeps fewer than two to train on."""
    generator = np.random.default_rng(data.seed)
    for group, name in enumerate(data.sets):
        classes = generator.permutation(np.unique(everything.identity[everything.group == group]))
        count = round(data.held_out * len(classes))
        if len(classes) - count < 2:
            raise CommandError(f"data.held_out: {name} has {len(classes)} classes, and two at least must train")
        yield from classes[:count].tolist()


def _read(path: Path, sets: tuple[str, ...]) -> tuple[LabelledItems, npt.NDArray[np.bool_]]:
    """The series of all sets, and whether each is of the official test part."""
    items: list[Item] = []
    labels, groups, official = [], [], []
    with zipfile.ZipFile(path) as archive:
        for group, name in enumerate(sets):
            for part in ("TRAIN", "TEST"):
                for item, label in _series(archive.read(f"{name}/{name}_{part}.ts").decode("utf-8")):
                    items.append(item)
                    labels.append((group, label))
                    groups.append(group)
                    official.append(part == "TEST")
    number = {label: place for place, label in enumerate(sorted(set(labels)))}
    identity = np.array([number[label] for label in labels], np.int64)
    group_of = np.array(groups, np.int64)
    return (
        LabelledItems(items, identity, identity, group_of, np.arange(len(items)), sets),
        np.array(official, np.bool_),
    )


def _series(text: str) -> Iterator[tuple[Item, str]]:
    """Item and class of every row after @data: dimensions apart by `:`, values by `,`, `?` missing, the class last."""
    lines = iter(text.splitlines())
    if not any(line.strip().lower() == "@data" for line in lines):
        raise ValueError("a .ts file has no line @data")
    for line in filter(str.strip, lines):
        *dimensions, label = line.strip().split(":")
        columns = [[None if one == "?" else float(one) for one in values.split(",")] for values in dimensions]
        yield {"values": [list(step) for step in zip(*columns, strict=True)]}, label
