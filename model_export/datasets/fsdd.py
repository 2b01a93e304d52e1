"""Free Spoken Digit Dataset (Jackson et al. 2018): English digits as WAV items, untouched.

Expects recordings.zip with recordings/DIGIT_SPEAKER_TAKE.wav. Identity = digit, unit = source = speaker: what
matches is the word, what is independent is the voice.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.recipe.data import FsddData

OFFICIAL_TEST_TAKES = 5
"""Takes 0 to 4 are the set's test recordings; of the training speakers they watch the training."""


def read_splits(folder: Path, data: FsddData) -> Splits:
    """Training speakers' takes from 5 on train; the held-out speakers are one pool, since four voices are few."""
    number = {name: place for place, name in enumerate((*data.training_speakers, *data.held_out_speakers))}
    return Splits(
        training=_read(folder, data.training_speakers, range(OFFICIAL_TEST_TAKES, 50), number),
        validation=_read(folder, data.training_speakers, range(OFFICIAL_TEST_TAKES), number),
        calibration=_read(folder, data.held_out_speakers, range(50), number),
        test=None,
        test_population=f"digits spoken by {' and '.join(data.held_out_speakers)}, cross-fitted by speaker",
    )


def _read(folder: Path, speakers: Sequence[str], takes: range, number: Mapping[str, int]) -> LabelledItems:
    items: list[Item] = []
    digits, voices = [], []
    with zipfile.ZipFile(folder / "recordings.zip") as archive:
        for name in sorted(archive.namelist()):
            digit, speaker, take = PurePosixPath(name).stem.split("_")
            if speaker in speakers and int(take) in takes:
                items.append({"bytes": archive.read(name)})
                digits.append(int(digit))
                voices.append(number[speaker])
    if missing := [speaker for speaker in speakers if number[speaker] not in voices]:
        raise CommandError(f"data: recordings.zip has no recording of {missing[0]}")
    identity, unit = np.array(digits, np.int64), np.array(voices, np.int64)
    return LabelledItems(items, identity, unit, np.zeros_like(unit), unit, ("digits",))
