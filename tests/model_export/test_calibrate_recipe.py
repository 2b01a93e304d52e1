"""`calibrate --recipe` where units are few: one pool, cross-fitted; and who is said to have made the evidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.evidence import Calibration
from model_export.calibrate import calibrate_recipe
from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.evaluate import evaluate_recipe
from model_export.recipe import name_recipe, read_recipe
from model_export.subjects import LocalSubject
from tests.tiny import tiny_item, write_tiny

RECIPE = """
[calibration]
population = "patterns of two days"
unit = "pattern"
random = "another pattern"
same_source = "same_day"
other_source = "other_day"
draws = 1000
"""


def items(units: int, first: int = 3000, variants: int = 4) -> LabelledItems:
    """Patterns, each seen twice on two days."""
    unit = np.repeat(np.arange(units), variants)
    return LabelledItems(
        [tiny_item(first + u, v) for u in range(units) for v in range(variants)],
        identity=unit,
        unit=unit,
        group=np.zeros_like(unit),
        source=np.tile(np.arange(variants) // 2, units),
        group_names=("",),
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The heartbeat recipe with the calibration section above."""
    whole = Path("recipes/heartbeat.toml").read_text("utf-8")
    path = tmp_path / "patterns.toml"
    path.write_text(whole[: whole.index("[calibration]")] + RECIPE.strip() + "\n", "utf-8")
    return path


def serve(monkeypatch: pytest.MonkeyPatch, pool: LabelledItems, test: LabelledItems | None = None) -> None:
    """Let every recipe read this data."""
    splits = Splits(pool, pool, pool, test, "patterns, cross-fitted by pattern")
    for module in ("calibrate", "evaluate"):
        monkeypatch.setattr(f"model_export.{module}.read_splits", lambda _: splits)


def evidence(folder: Path) -> Calibration:
    calibration = read_bundle(folder).calibration
    assert calibration is not None
    return calibration


def test_few_units_are_verified_inside_their_pool(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, items(27))
    bundle = calibrate_recipe(write_tiny(tmp_path, calibrated=False, status="demonstration"), recipe, tmp_path)
    found = evidence(bundle)
    assert found.impostor("random").unit_pairs == 351
    assert (found.counts.units, found.counts.genuine_pairs) == (27, 27 * 6)
    assert not found.bootstrap.groups_first
    for point in found.operating_points:
        assert point.verified is not None
        assert (point.verified.method, point.verified.unit_pairs) == ("cross_fitted", 351)
    card = (bundle / "MODEL_CARD.md").read_text("utf-8")
    assert "verified by cross-fitting: patterns, cross-fitted by pattern" in card
    capsys.readouterr()
    evaluate_recipe(LocalSubject(bundle), recipe, None)
    printed = capsys.readouterr().out
    for text in (card, printed):
        for kind in ("all", "same_day", "other_day"):
            assert f"| {kind} | random | 27 | 351 |" in text
    assert "chose its thresholds on the same items" in printed


def test_two_units_make_a_demonstration(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, items(2))
    bundle = calibrate_recipe(write_tiny(tmp_path, calibrated=False, status="demonstration"), recipe, tmp_path)
    assert read_bundle(bundle).manifest.status == "demonstration"
    found = evidence(bundle)
    assert [(p.name, p.fmr.high, p.verified) for p in found.operating_points] == [("eer", 1.0, None)]
    assert (found.defaults, found.applicability) == ({}, None)
    printed = capsys.readouterr().out
    assert "nothing is verified" in printed
    evaluate_recipe(LocalSubject(bundle), recipe, None)
    assert "no operating point" in capsys.readouterr().out


def test_the_evidence_is_the_projects_own_only_where_its_recipe_trained_the_bundle(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, items(12))
    folder = write_tiny(tmp_path, calibrated=False, status="demonstration")
    assert evidence(calibrate_recipe(folder, recipe, tmp_path)).source == "yours"
    bundle = read_bundle(folder)
    training = bundle.manifest.training.model_copy(update={"recipe": name_recipe(read_recipe(recipe))})
    own = bundle.manifest.model_copy(update={"training": training})
    monkeypatch.setattr("model_export.subjects.read_bundle", lambda _: type(bundle)(own, bundle.golden, bundle.graph))
    assert evidence(calibrate_recipe(folder, recipe, tmp_path)).source == "shipped"


def test_nothing_is_published_where_other_units_contradict_the_thresholds(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, test = items(40), items(40, first=5000)
    # the same pattern under two identities: what is called an impostor matches
    twins = LabelledItems(
        [tiny_item(7000, place) for place in range(len(test))],
        identity=test.identity,
        unit=test.unit,
        group=test.group,
        source=test.source,
        group_names=test.group_names,
    )
    serve(monkeypatch, pool, twins)
    folder = write_tiny(tmp_path, calibrated=False, status="demonstration")
    with pytest.raises(CommandError, match="disagree, so nothing is published: fmr_1e-1 against random: FMR"):
        calibrate_recipe(folder, recipe, tmp_path)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1.0.0"]
    serve(monkeypatch, pool, test)
    assert evidence(calibrate_recipe(folder, recipe, tmp_path)).operating_points[0].verified is not None
