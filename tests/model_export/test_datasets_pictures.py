"""Readers of pictures: no unit in two parts, each picture as a caller would post it, and damage told in one line."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from app.core.modalities.base import Item
from model_export.datasets.groceries import ICON, PHOTOGRAPH, read_catalogue
from model_export.errors import CommandError
from model_export.populations import read_other_population, read_splits
from model_export.recipe import read_recipe
from model_export.recipe.data import GroceriesData
from tests.model_export.test_datasets import assert_disjoint
from tests.model_export.tiny_pictures import (
    KINDS,
    write_tiny_att_faces,
    write_tiny_dutch,
    write_tiny_faces,
    write_tiny_groceries,
    write_tiny_signatures,
    write_tiny_xrays,
)
from tests.model_export.tiny_sets import write_tiny_recipe


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def decoded(item: Item) -> npt.NDArray[np.uint8]:
    with Image.open(BytesIO(item["bytes"])) as picture:
        return np.asarray(picture)


def test_signatures_are_cut_by_writer_and_match_by_writer_and_name(data: Path, tmp_path: Path) -> None:
    write_tiny_signatures(data / "signatures_cms")
    splits = read_splits(read_recipe(write_tiny_recipe("signatures", tmp_path / "r.toml", held_out="6")))
    assert_disjoint(splits, "identity", "unit")
    held = splits.calibration
    assert len(np.unique(held.unit)) == 6
    for identity in np.unique(held.identity):
        mine = held.identity == identity
        assert len(np.unique(held.unit[mine])) == len(np.unique(held.group[mine])) == 1
        assert sorted(held.source[mine]) == [0, 1, 2, 3]  # its four media
    assert np.median(decoded(held.items[0])) > 240  # ink on paper


def test_dutch_signatures_are_shown_as_posted_and_imitations_are_their_makers(data: Path) -> None:
    write_tiny_dutch(data / "signatures_dutch")
    (chosen,) = read_recipe(Path("recipes/signatures.toml")).external
    population = read_other_population(chosen)
    items, forged = population.items, population.imitates >= 0
    assert (forged.sum(), len(items)) == (8 * 2 * 2, 8 * (7 + 4))
    assert all(np.median(decoded(item)) > 240 for item in items.items)
    own = items.identity[~forged]
    assert set(population.imitates[forged].tolist()) == set(own.tolist())
    assert not set(items.identity[forged].tolist()) & set(own.tolist())
    assert not set(items.unit[forged].tolist()) & set(items.unit[~forged].tolist())
    assert len(np.unique(items.unit[forged])) == 2  # two makers imitated everyone


def test_a_forgery_that_does_not_say_who_made_it_is_told(data: Path) -> None:
    write_tiny_dutch(data / "signatures_dutch")
    path = data / "signatures_dutch" / "signatures.npz"
    with np.load(path) as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed["filename"] = np.where(changed["genuine"], changed["filename"], "x.png")
    np.savez(path, **changed)
    (chosen,) = read_recipe(Path("recipes/signatures.toml")).external
    with pytest.raises(CommandError, match="does not say who forged it"):
        read_other_population(chosen)


def test_groceries_are_cut_by_kind_and_the_catalogue_is_measured_apart(data: Path) -> None:
    write_tiny_groceries(data / "grocery")
    recipe = read_recipe(Path("recipes/groceries.toml"))
    cut = recipe.data.model_copy(update={"held_out": 2, "validation": 1})
    splits = read_splits(recipe.model_copy(update={"data": cut}))
    assert_disjoint(splits, "identity", "unit", "group")
    assert set(splits.calibration.source.tolist()) == set(splits.validation.source.tolist()) == {PHOTOGRAPH}
    assert set(splits.training.source.tolist()) == {PHOTOGRAPH, ICON}
    assert isinstance(cut, GroceriesData)
    catalogue = read_catalogue(data / "grocery", cut)
    products = np.unique(splits.calibration.identity)
    assert len(catalogue.training) == len(products)
    assert catalogue.tests == splits.calibration.items
    assert np.array_equal(products[catalogue.answer], splits.calibration.identity)
    assert len(set(KINDS)) > len(np.unique(splits.calibration.group))


def test_no_copy_of_a_measured_xray_trains_and_none_is_there_twice(
    data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_tiny_xrays(data / "pneumoniamnist")
    recipe = write_tiny_recipe("xray", tmp_path / "r.toml", validation="8")
    splits = read_splits(read_recipe(recipe))
    own = [item["bytes"] for item in (*splits.training.items, *splits.validation.items)]
    measured = [item["bytes"] for item in splits.calibration.items]
    assert len(set(own) | set(measured)) == len(own) + len(measured) == 60 - 3
    assert "2 of 40 training pictures, 1 of 20 measured ones" in capsys.readouterr().out
    assert set(splits.calibration.identity.tolist()) == {0, 1}


def test_faces_are_cut_by_the_official_folds(data: Path, tmp_path: Path) -> None:
    write_tiny_faces(data / "lfw")
    splits = read_splits(read_recipe(write_tiny_recipe("faces", tmp_path / "r.toml", validation="3")))
    assert_disjoint(splits, "identity", "unit")
    assert len(np.unique(splits.calibration.identity)) == 12 + 3
    assert len(splits.validation) == 3 * 2
    assert {len(np.atleast_1d(decoded(item)).shape) for item in splits.calibration.items} == {3}


def test_a_person_of_two_folds_is_told(data: Path) -> None:
    write_tiny_faces(data / "lfw")
    path = data / "lfw" / "pairs.tsv"
    path.write_text(path.read_text("utf-8") + "2\t0\tSome_One_100_0001.jpg\tAlone_200_0001.jpg\n", "utf-8")
    with pytest.raises(CommandError, match="Some_One_100 is in two folds"):
        read_splits(read_recipe(Path("recipes/faces.toml")))


def test_other_faces_imitate_nobody(data: Path) -> None:
    write_tiny_att_faces(data / "att_faces")
    (chosen,) = read_recipe(Path("recipes/faces.toml")).external
    population = read_other_population(chosen)
    assert len(population.items) == 18
    assert (population.imitates == -1).all()
    assert decoded(population.items.items[0]).shape == (56, 46)
