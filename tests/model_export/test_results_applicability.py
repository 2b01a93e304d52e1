"""`results applicability`: what a bundle refuses, of foreign inputs and of its own; and the page that says so."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.core.bundle.manifest import version_key
from app.core.modalities.base import Item
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.recipe import read_recipe
from model_export.results import applicability
from model_export.results.__main__ import main
from model_export.results.applicability import own_refused, refused
from model_export.results.filling import BLOCK
from model_export.results.foreign import SAMPLE, SOURCES, foreign_items
from model_export.subjects import LocalSubject
from tests.tiny import tiny_item

ROOT = Path(__file__).parents[2]
UNITS, ITEMS = 40, 6


@pytest.fixture(scope="module")
def subject(tiny_models: Path) -> LocalSubject:
    return LocalSubject(tiny_models / "tiny" / "1.0.0")


def items(first: int, units: int = UNITS) -> list[Item]:
    return [tiny_item(unit, variant) for unit in range(first, first + units) for variant in range(ITEMS)]


def test_own_items_pass_and_those_that_cannot_be_used_are_counted_apart(subject: LocalSubject) -> None:
    own = refused(subject, items(8000))
    assert (own.items, own.unusable) == (UNITS * ITEMS, 0)
    assert own.outside <= 0.05 * own.items
    broken: list[Item] = [{"bytes": b"no picture"}] * 3
    mixed = refused(subject, [*items(8000, 2), *broken])
    assert (mixed.items, mixed.unusable) == (2 * ITEMS + 3, 3)
    assert refused(subject, broken) == applicability.Refused(3, 3, 0)


def test_a_pool_is_judged_by_models_that_never_saw_the_unit(
    subject: LocalSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = np.repeat(np.arange(UNITS), ITEMS)
    broken: Item = {"bytes": b"no picture"}

    def splits(units: int) -> SimpleNamespace:
        part = unit[: units * ITEMS]
        zeros = np.zeros_like(part)
        pool = LabelledItems(items(8000, units), part, part, zeros, zeros, ("",))
        return SimpleNamespace(test=None, calibration=pool, training=replace(pool, items=[*pool.items, broken]))

    recipe = read_recipe(ROOT / "recipes" / "glyphs.toml")  # its seed only
    monkeypatch.setattr(applicability, "read_splits", lambda _: splits(UNITS))
    how, found = own_refused(subject, recipe)
    assert how == "cross-fitted"
    assert 0 < found.outside / found.items < 0.03
    monkeypatch.setattr(applicability, "read_splits", lambda _: splits(2))
    how, found = own_refused(subject, recipe)
    assert (how, found.items, found.unusable) == ("training identities", 2 * ITEMS + 1, 1)


def test_a_recipe_is_not_measured_against_its_own_kind_and_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path))
    with pytest.raises(CommandError, match="lfw"):
        next(foreign_items(read_recipe(ROOT / "recipes" / "glyphs.toml")))
    recipe = read_recipe(ROOT / "recipes" / "questions.toml")
    for kind in ("German, French, Spanish", "program code", "random letters"):
        made = SOURCES["text"][kind][1](recipe)
        assert len({item["text"] for item in made}) > 0.4 * SAMPLE
    glyphs = {kind for kind, (readers, _) in SOURCES["image"].items() if "omniglot" not in readers}
    assert set(SOURCES["image"]) - glyphs == {"drawn characters"}


def test_signals_of_other_sensors_are_of_the_length_and_form_that_the_model_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = os.environ.get("TWINSERVE_DATA")
    if not root:
        pytest.skip("TWINSERVE_DATA is not set: the recordings are not at hand")
    monkeypatch.setattr("model_export.results.foreign.SAMPLE", 3)
    for name in ("heartbeat", "digits"):
        (folder,) = (ROOT / "models" / name).glob("*.*.*")
        for kind, made in foreign_items(read_recipe(ROOT / "recipes" / f"{name}.toml")):
            assert refused(LocalSubject(folder), made).unusable == 0, kind


def test_a_bundle_of_an_unknown_recipe_is_one_line(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["applicability", str(tiny_models / "tiny"), "--recipes", str(tmp_path)]) == 1
    assert "the recipe that trained it" in capsys.readouterr().err


def test_the_page_says_it_of_every_bundle_that_ships_and_few_of_their_own_are_refused() -> None:
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    (found,) = [one for one in BLOCK.finditer(page) if "results applicability" in one["command"]]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found["table"].splitlines()[2:]]
    shipped = {
        f"{folder.name}@{max((one.name for one in folder.glob('*.*.*')), key=version_key)}"
        for folder in (ROOT / "models").iterdir()
        if (ROOT / "recipes" / f"{folder.name}.toml").is_file()
    }
    own = {row[0]: row for row in rows if row[1].startswith("own, ")}
    assert set(own) == shipped
    measured = {name: float(row[3].rstrip("%")) for name, row in own.items()}
    assert all(rate <= 2.0 for rate in measured.values()), measured
    foreign = {name: len([row for row in rows if row[0] == name]) - 1 for name in own}
    assert min(foreign.values()) >= 3
    assert not [row for row in rows if not re.fullmatch(r"\d+\.\d%", row[3])]
