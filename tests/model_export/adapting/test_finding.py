"""Which head is found: by training and validation items alone, and the same again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.adapting import learning
from model_export.adapting.finding import Chosen, find_head
from model_export.adapting.own import Own, read_own
from model_export.fitting.layouts import find_layout
from model_export.subjects import LocalSubject
from tests.model_export.adapting.own_marks import write_marks
from tests.model_export.own_files import write_table
from tests.tiny import write_tiny


class Sealed(Sequence[Any]):
    """Items that must not be looked at."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("a held-out item was looked at")


def read(subject: LocalSubject, path: Path, *levels: str) -> Own:
    return read_own(find_layout(path, levels=levels), subject.encoder.bundle.manifest, duplicates="stop")


def sealed(own: Own) -> Own:
    held_out = replace(own.splits.calibration, items=Sealed(len(own.splits.calibration)))
    assert own.splits.test is None
    return replace(own, splits=replace(own.splits, calibration=held_out))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time for a few looks, not for the best head."""
    monkeypatch.setattr(learning, "STEPS", 75)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> LocalSubject:
    return LocalSubject(write_tiny(tmp_path_factory.mktemp("models"), calibrated=False))


def check(chosen: Chosen) -> None:
    """The best area is the chosen head's, and the head is better than none here."""
    assert chosen.areas[chosen.head.name] == max(chosen.areas.values()) > chosen.areas["none"] + 0.1
    assert list(chosen.areas) == ["none", "whitening", "linear", "network"]


def test_held_out_items_are_not_looked_at_and_the_same_data_gives_the_same_head(
    subject: LocalSubject, tmp_path: Path
) -> None:
    own = sealed(read(subject, write_marks(tmp_path / "marks")))
    chosen, again = find_head(subject, own), find_head(subject, own)
    check(chosen)
    assert chosen.impostor == "random"
    np.testing.assert_array_equal(chosen.head.matrix, again.head.matrix)
    assert chosen.areas == again.areas


def test_groups_are_the_hard_impostors_that_it_is_chosen_by(subject: LocalSubject, tmp_path: Path) -> None:
    marks = write_marks(tmp_path / "marks", identities=64, each=3)
    for number, folder in enumerate(sorted(marks.iterdir())):
        (tmp_path / "grouped" / f"kind {number % 8}").mkdir(parents=True, exist_ok=True)
        folder.rename(tmp_path / "grouped" / f"kind {number % 8}" / folder.name)
    own = read(subject, tmp_path / "grouped", "group", "identity")
    assert own.calibration.hard is not None
    chosen = find_head(subject, own)
    check(chosen)
    assert chosen.impostor in ("random", "hard")


@pytest.mark.parametrize("split_by", ["group", "identity"])
def test_labelled_pairs_are_what_it_is_chosen_by(subject: LocalSubject, tmp_path: Path, split_by: str) -> None:
    """By group where pairs connect two marks each; by identity where they connect all of them."""
    write_marks(tmp_path / "marks", identities=60, each=3)
    rows = []
    for number in range(60):
        files = [f"marks/mark {number}/{place}.png" for place in range(3)]
        other = number ^ 1 if split_by == "group" else (number + 1) % 60
        rows += [{"a": files[0], "b": one, "label": 1} for one in files[1:]]
        rows.append({"a": files[1], "b": f"marks/mark {other}/0.png", "label": 0})
    layout = find_layout(write_table(tmp_path / "pairs.csv", rows))
    own = read_own(layout, subject.encoder.bundle.manifest, duplicates="stop", split_by=split_by)
    check(find_head(subject, own))
