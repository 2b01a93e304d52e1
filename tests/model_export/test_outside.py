"""Another population's comparisons: which pairs are of which kind, several references, and what the card says."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from app.core.bundle import read_bundle
from app.core.modalities.base import Item
from model_export.calibrate import calibrate_recipe
from model_export.datasets import LabelledItems, OtherPopulation, Splits
from model_export.errors import CommandError
from model_export.outside import compare_outside
from model_export.recipe import External, read_recipe
from model_export.subjects import LocalSubject
from tests.tiny import tiny_item, write_tiny

SIGNERS, OWN, FORGED = 8, 6, 3


def population(maker: int = 1000) -> OtherPopulation:
    """Patterns of 8 signers, six each, and three of each by a maker: the same pattern in other noise, so accepted."""
    identity = np.repeat(np.arange(SIGNERS), OWN)
    imitated = np.repeat(np.arange(SIGNERS), FORGED)
    items: list[Item] = [tiny_item(5000 + one, variant) for one in range(SIGNERS) for variant in range(OWN)]
    items += [tiny_item(5000 + one, 50 + variant) for one in range(SIGNERS) for variant in range(FORGED)]
    zeros = np.zeros(len(items), np.int64)
    return OtherPopulation(
        LabelledItems(
            items,
            np.concatenate([identity, 10_000 + np.arange(len(imitated))]),
            np.concatenate([identity, np.full(len(imitated), maker)]),
            zeros,
            zeros,
            ("all",),
        ),
        np.concatenate([np.full(len(identity), -1), imitated]),
    )


def chosen(*references: int) -> External:
    (external,) = read_recipe(Path("recipes/signatures.toml")).external
    return external.model_copy(update={"references": references})


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> LocalSubject:
    return LocalSubject(write_tiny(tmp_path_factory.mktemp("models")))


def test_each_pair_is_of_its_kind_once(subject: LocalSubject) -> None:
    outside = compare_outside(subject, chosen(), population(), 0)
    scores = outside.single
    assert scores.genuine.pairs == SIGNERS * OWN * (OWN - 1) // 2
    assert len(scores.impostors["skilled"].score) == SIGNERS * OWN * FORGED
    assert len(scores.impostors["random_dutch"].score) == OWN * OWN * SIGNERS * (SIGNERS - 1) // 2
    maker = scores.units.count - 1
    assert (scores.impostors["skilled"].unit_b == maker).all()
    # the imitations here are as like as own ones; strangers are not
    assert np.median(scores.impostors["skilled"].score) > 0.8 > np.median(scores.impostors["random_dutch"].score)
    assert not outside.several


def test_several_references_decide_by_their_highest_or_their_mean_score(subject: LocalSubject) -> None:
    outside = compare_outside(subject, chosen(4), population(), 0)
    assert set(outside.several) == {(4, "max"), (4, "mean")}
    for scores in outside.several.values():
        # five draws of four references: two own items and three imitations are left to compare with them
        assert len(scores.genuine.score) == 5 * SIGNERS * (OWN - 4)
        assert len(scores.impostors["skilled"].score) == 5 * SIGNERS * FORGED
        assert len(scores.impostors["random_dutch"].score) == 5 * SIGNERS * (SIGNERS - 1) * OWN
    highest, mean = outside.several[4, "max"], outside.several[4, "mean"]
    assert list(outside.by_words()) == ["1", "4, highest score", "4, mean score"]
    for name in highest.impostors:
        assert (highest.impostors[name].score >= mean.impostors[name].score).all()
    assert np.median(mean.genuine.score) < np.median(highest.genuine.score)


def test_more_references_than_anybody_has_are_told(subject: LocalSubject) -> None:
    with pytest.raises(CommandError, match="no identity has more than 6 items"):
        compare_outside(subject, chosen(6), population(), 0)


def test_a_kind_without_pairs_is_told(subject: LocalSubject) -> None:
    whole = population()
    own = whole.imitates < 0
    without = OtherPopulation(whole.items.select(own), whole.imitates[own])
    with pytest.raises(CommandError, match="no pair of kind skilled"):
        compare_outside(subject, chosen(), without, 0)


@functools.cache
def own_items() -> LabelledItems:
    unit = np.repeat(np.arange(27), 4)
    items: list[Item] = [tiny_item(3000 + u, v) for u in range(27) for v in range(4)]
    return LabelledItems(items, unit, unit, np.tile([0, 1], 54), np.tile(np.arange(4), 27), ("a", "b"))


def test_calibrate_reports_the_other_population_in_evidence_and_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_items()
    splits = Splits(own, own, own, None, "the same patterns")
    monkeypatch.setattr("model_export.calibrate.read_splits", lambda _: splits)
    monkeypatch.setattr("model_export.calibrate.read_other_population", lambda _: population())
    tiny = write_tiny(tmp_path, calibrated=False, status="demonstration")
    whole = Path("recipes/signatures.toml").read_text("utf-8").replace("draws = 2000", "draws = 1000")
    whole = whole.replace("references = [3]\n", "")  # those within one unit have two items each
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(whole, "utf-8")
    folder = calibrate_recipe(tiny, recipe, tmp_path)
    found = read_bundle(folder).calibration
    assert found is not None
    assert [(one.type, one.external) for one in found.impostors] == [
        ("random", False),
        ("hard", False),
        ("skilled", True),
        ("random_dutch", True),
    ]
    assert found.impostor("skilled").population == chosen().population
    assert {point.impostor for point in found.operating_points} == {"random", "hard"}
    # items come in groups here, so that units are drawn alone
    assert not found.bootstrap.groups_first
    assert found.counts.groups is None
    card = (folder / "MODEL_CARD.md").read_text("utf-8")
    assert "measured on another population, reported and never chosen" in card
    assert "| 4, highest score |" in card
    assert "fmr_1e-1 against hard of the evidence" in card
    assert "| 1 | FMR 0.01 against random_dutch" in card


def test_a_declared_demonstration_claims_nothing_whatever_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_items()
    splits = Splits(own, own, own, None, "the same patterns")
    monkeypatch.setattr("model_export.calibrate.read_splits", lambda _: splits)
    tiny = write_tiny(tmp_path, calibrated=False, status="demonstration")
    whole = Path("recipes/signatures.toml").read_text("utf-8")
    whole = whole[: whole.index("[[external]]")].replace("references = [3]\n", "")
    whole = whole.replace("draws = 2000", 'draws = 1000\ndemonstration = "no sample"')
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(whole, "utf-8")
    folder = calibrate_recipe(tiny, recipe, tmp_path)
    bundle = read_bundle(folder)
    assert bundle.manifest.status == "demonstration"
    assert bundle.calibration is not None
    assert {point.name for point in bundle.calibration.operating_points} == {"eer"}
    assert "a demonstration: no sample" in (folder / "MODEL_CARD.md").read_text("utf-8")
