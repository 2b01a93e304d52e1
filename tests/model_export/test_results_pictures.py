"""`results catalogue` and `results elsewhere`: tables on tiny folders in the sets' own formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.results.__main__ import main
from model_export.results.catalogue import rank_right, recall
from tests.model_export.tiny_pictures import write_tiny_dutch, write_tiny_groceries
from tests.model_export.tiny_sets import write_tiny_recipe


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]  # without the rule below the header


def test_the_right_picture_stands_behind_wrong_ones_that_score_the_same() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]], np.float32)
    assert rank_right(scores, np.array([0, 1, 2])).tolist() == [1, 2, 3]


def test_every_product_weighs_the_same_however_many_photographs_it_has() -> None:
    hits = np.array([True] * 9 + [False])
    assert recall(hits, np.array([0] * 9 + [1]), draws=1000, seed=0).startswith("0.5 [0, 1]")


def test_photographs_of_one_colour_find_their_catalogue_picture(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_groceries(data / "grocery")
    recipe = write_tiny_recipe("groceries", data / "r.toml", held_out="4", validation="2")
    assert main(["catalogue", "--floor", "pixels", "--recipe", str(recipe)]) == 0
    header, floor, chance = rows(capsys)
    assert header[-2:] == ["recall@1", "recall@5"]
    assert floor[0] == "floor pixels"
    assert int(floor[1]) == 3 * int(floor[2])
    assert float(floor[4].split()[0]) == 1.0
    assert float(chance[3]) == pytest.approx(1 / int(floor[2]), abs=1e-2)


def test_a_floor_is_measured_elsewhere_with_one_reference_and_with_several(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_dutch(data / "signatures_dutch")
    recipe = write_tiny_recipe("signatures", data / "r.toml")
    assert main(["elsewhere", "--floor", "pixels", "--recipe", str(recipe)]) == 0
    header, *table = rows(capsys)
    assert header[1:3] == ["references", "impostor"]
    assert [row[1:3] for row in table] == [
        [references, impostor]
        for references in ("1", *(f"{k}, {how} score" for k in (3, 4) for how in ("highest", "mean")))
        for impostor in ("skilled", "random_dutch")
    ]


@pytest.mark.parametrize(("command", "told"), [("catalogue", "no catalogue"), ("elsewhere", "no \\[\\[external\\]\\]")])
def test_a_recipe_without_the_data_asked_for_is_told(
    command: str, told: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.mkdir()
    assert main([command, "--floor", "pixels", "--recipe", "recipes/glyphs.toml"]) != 0
    assert told.replace("\\", "") in capsys.readouterr().err
