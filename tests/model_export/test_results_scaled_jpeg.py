"""The command that measures what decoding JPEGs at a part of their size changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.results.__main__ import main
from model_export.results.scaled_jpeg import _equal_error
from tests.model_export.tiny_omniglot import write_tiny_recipe
from tests.model_export.tiny_training import write_drawings

GLYPHS = Path(__file__).parents[2] / "models" / "glyphs"


def test_small_pictures_stay_as_they_are_and_large_ones_hardly_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(write_drawings(tmp_path)))
    recipe = write_tiny_recipe(tmp_path / "tiny.toml")
    rows = []
    for size in ([], ["--megapixels", "1"]):
        assert main(["scaled-jpeg", str(GLYPHS), "--recipe", str(recipe), *size]) == 0
        table = capsys.readouterr().out.splitlines()
        rows += [line.strip("| ").split(" | ") for line in table if line.startswith("| glyphs")]
    assert [row[3] for row in rows] == ["whole", "scaled"] * 2
    assert rows[1][7:] == ["0", "0.00%"]
    assert 0 < float(rows[3][7]) < 0.05


def test_only_pictures_are_jpegs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(write_drawings(tmp_path)))
    recipe = write_tiny_recipe(tmp_path / "tiny.toml")
    assert main(["scaled-jpeg", "models/digits", "--recipe", str(recipe)]) == 1
    assert "only pictures are JPEGs" in capsys.readouterr().err


def test_errors_are_equal_where_the_curves_cross() -> None:
    scores, genuine = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], np.float32), np.array([0, 0, 1, 0, 1, 1], np.bool_)
    threshold, rate = _equal_error(scores, genuine)
    assert threshold == pytest.approx(0.4)
    assert rate == pytest.approx(1 / 3)
