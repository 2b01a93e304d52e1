"""Several references at once: who is compared with whom, and that calibrate measures, verifies and publishes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.evidence import Selectors, choose, reference_points
from app.core.scoring import similarity
from model_export.calibrate import calibrate_recipe
from model_export.comparing import score_all_pairs
from model_export.errors import CommandError
from model_export.recipe import Calibration, read_recipe
from model_export.references import DRAWS, draw_references, score_references
from tests.model_export.test_calibrate_recipe import items, serve
from tests.model_export.test_comparing import chosen, embedded
from tests.tiny import write_tiny


def scored(labelled: Any, calibration: Calibration, k: int) -> Any:
    single = score_all_pairs(labelled, "cosine", calibration, seed=0)
    return score_references(labelled, "cosine", calibration, single, k, seed=0)


def test_every_item_meets_drawn_references_but_for_those_it_is_one_of() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=(12, 12)).astype(np.float32)
    identity = np.array([0] * 5 + [1] * 3 + [2] * 2 + [-1] * 2)  # too few items of 2; the last are probes only
    drawn = draw_references(score, identity, 3, seed=0)
    assert len(drawn.probe) == 2 * DRAWS * 9
    assert set(identity[drawn.reference].tolist()) == {0, 1}
    assert set(drawn.probe.tolist()) == set(range(12))
    for whose, kept in ((0, 2), (1, 0)):
        mine = identity[drawn.reference] == whose
        assert (identity[drawn.probe[mine]] == whose).sum() == DRAWS * kept
    # identity 1 has three items, which are the references whatever is drawn
    own = identity[drawn.reference] == 1
    table = score[drawn.probe[own]][:, identity == 1]
    assert (drawn.score["max"][own] == table.max(axis=1)).all()
    assert (drawn.score["mean"][own] == table.astype(np.float64).mean(axis=1).astype(np.float32)).all()


def test_scores_are_those_of_single_comparisons() -> None:
    labelled = embedded([0, 0, 0, 1, 1])
    found = scored(labelled, chosen(), 2)["max"]
    vectors = labelled.rows.vectors
    single = {similarity(a, b, "cosine") for a in vectors for b in vectors}
    assert set(found.genuine.score.tolist()) <= single
    assert set(found.impostors["random"].score.tolist()) <= single
    # two of identity 0 and one probe of it; identity 1 has no third item, and is met as impostor in both directions
    assert len(found.genuine.score) == DRAWS
    assert len(found.impostors["random"].score) == DRAWS * (2 + 3)


def test_impostors_have_two_units_and_hard_ones_one_group() -> None:
    # two writers, each with the names 0 and 1, three times
    identity, writer, name = np.repeat([0, 1, 2, 3], 3), np.repeat([0, 0, 1, 1], 3), np.repeat([0, 1, 0, 1], 3)
    labelled = embedded(identity, writer, group=name)
    found = scored(labelled, chosen(hard="the same name", grouped="items"), 2)["mean"]
    assert found.units.count == 2
    assert len(found.genuine.score) == 4 * DRAWS
    assert len(found.impostors["random"].score) == 4 * DRAWS * 6
    assert len(found.impostors["hard"].score) == 4 * DRAWS * 3
    assert not found.impostors["hard"].within_groups
    units = scored(embedded(identity, group=[7] * 6 + [8] * 6), chosen(hard="near"), 2)["mean"]
    assert units.impostors["hard"].within_groups
    assert len(units.impostors["hard"].score) == 4 * DRAWS * 3
    assert len(units.impostors["random"].score) == 4 * DRAWS * 9


def test_references_are_of_one_unit_though_an_identity_has_several() -> None:
    # word 0 by speakers 0 and 1, three times each; word 1 by both, once
    labelled = embedded([0] * 6 + [1, 1], [0] * 3 + [1] * 3 + [0, 1])
    found = scored(labelled, chosen(), 2)["max"]
    assert found.genuine.other is not None
    crossing = found.genuine.unit != found.genuine.other
    # of each set of two: one probe of the speaker, three of the other, which count for both
    assert ((~crossing).sum(), crossing.sum()) == (2 * DRAWS, 2 * 2 * DRAWS * 3)
    assert found.genuine.pairs == 2 * DRAWS * 4


def test_only_compared_unit_pairs_count_where_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("comparing", "references"):
        monkeypatch.setattr(f"model_export.{module}.MAX_UNIT_PAIRS", 20)
    labelled = embedded(np.repeat(np.arange(10), 3))
    single = score_all_pairs(labelled, "cosine", chosen(), seed=0).impostors["random"]
    found = scored(labelled, chosen(), 2)["max"].impostors["random"]
    assert "20 of 45" in capsys.readouterr().out
    pairs = [
        {frozenset(pair) for pair in zip(one.unit_a.tolist(), one.unit_b.tolist(), strict=True)}
        for one in (single, found)
    ]
    assert pairs[0] == pairs[1]


def test_too_few_items_of_every_identity_are_told() -> None:
    with pytest.raises(CommandError, match="no identity has more than 3 items"):
        scored(embedded([0, 0, 0, 1, 1, 1]), chosen(), 3)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The heartbeat recipe, measuring patterns with two and three references."""
    whole = Path("recipes/heartbeat.toml").read_text("utf-8")
    section = """[calibration]
population = "patterns"
unit = "pattern"
random = "another pattern"
references = [2, 3]
draws = 1000
"""
    path = tmp_path / "patterns.toml"
    path.write_text(whole[: whole.index("[calibration]")] + section, "utf-8")
    return path


@pytest.mark.parametrize("apart", [True, False])
def test_calibrate_measures_several_references_and_verifies_them_as_single_ones(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    serve(monkeypatch, items(30, variants=5), items(30, first=5000, variants=5) if apart else None)
    folder = calibrate_recipe(write_tiny(tmp_path, calibrated=False, status="demonstration"), recipe, tmp_path)
    bundle = read_bundle(folder)
    found = bundle.calibration
    assert found is not None
    keys = {(2, "max"), (2, "mean"), (3, "max"), (3, "mean")}
    assert {(c.k, c.aggregation) for c in found.impostor_curves} == {(1, "single"), *keys}
    assert {(c.k, c.aggregation) for c in found.genuine_curves} == {(1, "single"), *keys}
    assert bundle.manifest.format_version == 1  # the curves were always kept by number and aggregation
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    for k in (2, 3):
        choice = choose(found, "released", Selectors(max_fmr=0.1), k=k, aggregation="mean")
        assert choice.operating_point is not None
        assert choice.operating_point["fmr"]["high"] <= 0.1
        _, _, table = card.partition(f"## {k} references of one identity at once")
        for how, words in (("max", "highest score"), ("mean", "mean score")):
            for point in reference_points(found, k, how):  # type: ignore[arg-type]
                (row,) = re.findall(rf"^\| {words} \| random \| {point.name} \| .*$", table.partition("##")[0], re.M)
                assert f"{point.threshold:.4f}" in row
                assert "not measured" not in row  # every rate is verified


def test_nothing_is_published_where_several_references_contradict_themselves(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, items(30, variants=5), items(30, first=5000, variants=5))
    honest = score_references

    def wrong(*arguments: Any, **named: Any) -> Any:
        found = honest(*arguments, **named)
        if arguments[0].items.items[0] == items(1, first=5000).items[0]:
            for scores in found.values():  # of the test identities: every impostor matches
                object.__setattr__(
                    scores.impostors["random"], "score", scores.impostors["random"].score + np.float32(2)
                )
        return found

    monkeypatch.setattr("model_export.reference_evidence.score_references", wrong)
    folder = write_tiny(tmp_path, calibrated=False, status="demonstration")
    with pytest.raises(CommandError, match="with 2 references, highest score, calibration and verification disagree"):
        calibrate_recipe(folder, recipe, tmp_path)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    ("line", "said"), [("references = [1, 3]", "give 2 or more"), ("references = [3, 3]", "there twice")]
)
def test_numbers_of_references_that_cannot_be_meant_are_told(recipe: Path, line: str, said: str) -> None:
    recipe.write_text(recipe.read_text("utf-8").replace("references = [2, 3]", line), "utf-8")
    with pytest.raises(CommandError, match=rf"calibration\.references: .*{said}"):
        read_recipe(recipe)
