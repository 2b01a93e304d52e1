"""Who is compared with whom: genuine and impostor pairs where identity, unit, group and source differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.core.scoring import similarity
from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.measure import Embedded, Embeddings
from model_export.recipe import Calibration

WORDS = {"population": "made up", "unit": "speaker", "random": "another"}


def embedded(identity: Any, unit: Any = None, group: Any = None, source: Any = None) -> Embedded:
    """Items with these labels (identity where left out; one group, one source) and random vectors."""
    count = len(identity)
    items = LabelledItems(
        [{"text": str(at)} for at in range(count)],
        identity=np.asarray(identity, np.int64),
        unit=np.asarray(identity if unit is None else unit, np.int64),
        group=np.asarray([0] * count if group is None else group, np.int64),
        source=np.asarray([0] * count if source is None else source, np.int64),
        group_names=("",),
    )
    vectors = np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32)
    rows = Embeddings(np.ones(count, np.bool_), vectors, None, None, {})
    return Embedded(items, 10 + np.arange(count), rows)


def chosen(**changes: Any) -> Calibration:
    return Calibration(**WORDS | changes)


def test_scores_are_those_of_the_service_and_every_pair_is_there_once() -> None:
    items = embedded([0, 0, 1, 1, 2])
    scores = score_all_pairs(items, "cosine", chosen(), seed=0)
    vectors = items.rows.vectors
    assert scores.genuine.score.tolist() == [
        similarity(vectors[0], vectors[1], "cosine"),
        similarity(vectors[2], vectors[3], "cosine"),
    ]
    assert scores.genuine.unit.tolist() == [0, 1]
    assert len(scores.impostors["random"].score) == 8
    assert set(scores.impostors) == {"random"}
    assert scores.units.group is None


def test_units_and_not_identities_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    # words 0 and 1, each said once by speakers 0, 1 and 2, word 0 twice by speaker 0
    scores = score_all_pairs(embedded([0, 0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 1, 2, 2]), "cosine", chosen(), seed=0)
    assert scores.units.count == 3
    # genuine: word 0 has 6 pairs, 5 of them of two speakers; word 1 has 3, all of two speakers
    assert scores.genuine.pairs == 9
    assert len(scores.genuine.score) == 9 + 8
    assert scores.genuine.other is not None
    assert (scores.genuine.unit == scores.genuine.other).sum() == 1
    impostors = scores.impostors["random"]
    assert len(impostors.score) == 12 - 4
    assert (impostors.unit_a != impostors.unit_b).all()
    assert "4 pairs of two identities within one speaker are left out" in capsys.readouterr().out


def test_hard_impostors_share_a_group_and_only_then_do_groups_count() -> None:
    items = embedded([0, 0, 1, 1, 2, 2, 3], group=[5, 5, 5, 5, 8, 8, 8])
    assert score_all_pairs(items, "cosine", chosen(), seed=0).units.group is None
    scores = score_all_pairs(items, "cosine", chosen(hard="near"), seed=0)
    assert scores.units.group is not None
    assert scores.units.group.tolist() == [0, 0, 1, 1]
    hard = scores.impostors["hard"]
    assert hard.within_groups
    assert len(hard.score) == 4 + 2
    assert len(scores.impostors["random"].score) == 21 - 3


def test_kinds_of_genuine_pairs_follow_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    items = embedded([0, 0, 0, 1, 1], source=[1, 1, 2, 3, 3])
    scores = score_all_pairs(items, "cosine", chosen(same_source="same_day", other_source="other_day"), seed=0)
    assert {name: kind.pairs for name, kind in scores.kinds.items()} == {"same_day": 2, "other_day": 2}
    assert scores.genuine.pairs == 4
    assert score_all_pairs(items, "cosine", chosen(), seed=0).kinds == {}
    alone = embedded([0, 0, 1, 1], source=[1, 1, 3, 3])
    kinds = score_all_pairs(alone, "cosine", chosen(same_source="same_day", other_source="other_day"), seed=0).kinds
    assert set(kinds) == {"same_day"}
    assert "no genuine pair of kind other_day" in capsys.readouterr().out


def test_hardest_pairs_are_numbers_of_items_as_the_reader_gave_them() -> None:
    scores = score_all_pairs(embedded(np.repeat(np.arange(20), 3)), "cosine", chosen(), seed=0)
    genuine = [row for row in scores.hardest if row["kind"] == "genuine"]
    random = [row for row in scores.hardest if row["kind"] == "random"]
    assert (len(genuine), len(random)) == (50, 50)
    assert float(genuine[0]["score"]) == pytest.approx(float(scores.genuine.score.min()), abs=1e-6)
    assert float(random[0]["score"]) == pytest.approx(float(scores.impostors["random"].score.max()), abs=1e-6)
    assert all(set(row) == {"kind", "score", "item_a", "item_b"} for row in scores.hardest)
    first = genuine[0]
    assert (int(first["item_a"]) - 10) // 3 == (int(first["item_b"]) - 10) // 3


def test_more_items_than_are_compared_are_drawn_evenly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model_export.comparing.MAX_ITEMS", 50)
    items = embedded(np.repeat(np.arange(10), 30))
    scores = score_all_pairs(items, "cosine", chosen(), seed=0)
    assert "50 of 300 items are compared: at most 5 of each identity and unit" in capsys.readouterr().out
    assert scores.genuine.pairs == 10 * 10
    again = score_all_pairs(items, "cosine", chosen(), seed=0)
    assert np.array_equal(again.genuine.score, scores.genuine.score)
    many = score_all_pairs(embedded(np.repeat(np.arange(100), 2)), "cosine", chosen(), seed=0)
    assert many.units.count == 25
    assert many.genuine.pairs == 25


def test_more_unit_pairs_than_are_measured_are_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model_export.comparing.MAX_UNIT_PAIRS", 20)
    impostors = score_all_pairs(embedded(np.repeat(np.arange(10), 3)), "cosine", chosen(), seed=0).impostors["random"]
    assert "20 of 45 unit pairs of type random are compared" in capsys.readouterr().out
    assert len({(a, b) for a, b in zip(impostors.unit_a.tolist(), impostors.unit_b.tolist(), strict=True)}) == 20
    assert len(impostors.score) == 20 * 9  # all item pairs of a unit pair, or none


@pytest.mark.parametrize(
    ("items", "changes", "said"),
    [
        (embedded([0, 0, 0]), {}, "at least two units; there is one speaker"),
        (embedded([0, 1, 2]), {}, "no genuine pair"),
        (embedded([0, 0], [0, 1]), {}, "no impostor pair of type random"),
        (embedded([0, 0, 1, 1]), {"hard": "near"}, "all items are of one group"),
        (embedded([0, 0, 1], group=[0, 0, 1]), {"hard": "near"}, "no impostor pair of type hard"),
        (embedded([0, 0, 1], group=[0, 1, 1]), {"hard": "near"}, "a speaker has items of two groups"),
    ],
)
def test_data_without_what_the_recipe_asks_for_is_told(items: Embedded, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        score_all_pairs(items, "cosine", chosen(**changes), seed=0)
