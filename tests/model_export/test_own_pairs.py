"""Labelled pairs to learn from: what is an identity and a group, what is in a batch, and what is measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.comparing import score_all_pairs
from model_export.datasets import LabelledItems, LabelledPairs
from model_export.errors import CommandError
from model_export.linked_batches import linked_batches
from model_export.measure import Embedded, Embeddings
from model_export.populations import read_splits
from model_export.recipe import Calibration, Recipe, Sampler
from model_export.sampling import endless_batches, seed_everything
from tests.model_export.own_files import SHARED, own_recipe, write_table

MORE = {'hard = "another intent of the same domain"': "", "groups = 2\n": "", "classes = 32": "classes = 8"}


def word(number: int, one: int) -> str:
    return "".join(map(chr, np.random.default_rng([number, one]).integers(97, 123, 20)))


def rows(couples: int = 40, **changes: Any) -> list[dict[str, Any]]:
    """Couples of identities of three texts each, two matching pairs each; one labelled 0 joins the couple."""
    said = []
    for couple in range(couples):
        for identity in (2 * couple, 2 * couple + 1):
            said += [{"a": word(identity, 0), "b": word(identity, one), "label": 1, "impostor": ""} for one in (1, 2)]
        near = {"a": word(2 * couple, 1), "b": word(2 * couple + 1, 2), "label": 0, "impostor": "near"}
        said.append(near | changes)
    return said


def pairs_recipe(folder: Path, said: list[dict[str, Any]], data: str = "") -> Recipe:
    write_table(folder / "pairs.csv", said)
    return own_recipe(folder / "r.toml", f'reader = "pairs"\ntable = "pairs.csv"\n{SHARED}\n{data}', more=MORE)


def test_matching_items_are_one_identity_and_every_labelled_pair_stays_whole(tmp_path: Path) -> None:
    splits = read_splits(pairs_recipe(tmp_path, rows()))
    parts = list(splits.parts().values())
    identities = [set(part.identity.tolist()) for part in parts]
    assert sum(map(len, identities)) == len(set.union(*identities)) == 80
    assert sum(len(part.pairs.label) for part in parts if part.pairs) == len(rows())
    for part in parts:
        assert part.pairs is not None
        texts = [item["text"] for item in part.items]
        kept = {(texts[a], texts[b]) for a, b in zip(part.pairs.a, part.pairs.b, strict=True)}
        assert kept <= {(row["a"], row["b"]) for row in rows()}
        same = part.identity[part.pairs.a] == part.identity[part.pairs.b]
        assert same.tolist() == part.pairs.label.tolist()


def test_cut_by_identity_the_pairs_that_run_across_parts_are_lost_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = read_splits(pairs_recipe(tmp_path, rows(80), 'split_by = "identity"'))
    kept = sum(len(part.pairs.label) for part in splits.parts().values() if part.pairs)
    assert kept < 400
    assert f"{400 - kept} labelled pairs run across parts and are left out" in capsys.readouterr().out


def test_rows_added_below_change_no_part(tmp_path: Path) -> None:
    before = read_splits(pairs_recipe(tmp_path, rows(60), "one_pool = true"))
    after = read_splits(pairs_recipe(tmp_path, rows(90), "one_pool = true"))
    held = [{item["text"] for item in one.calibration.items} for one in (before, after)]
    assert held[0] < held[1]
    assert not held[1] & {item["text"] for item in before.training.items}


def test_both_sides_of_a_pair_that_does_not_match_are_in_one_batch(tmp_path: Path) -> None:
    training = read_splits(pairs_recipe(tmp_path, rows())).training
    batches = linked_batches(training, Sampler(classes=8, per_class=2, grouped_share=1.0), np.random.default_rng(0))
    seen: Counter[int] = Counter()
    for _ in range(4 * len(np.unique(training.group))):
        batch = next(batches)
        identities, counts = np.unique(training.identity[batch], return_counts=True)
        assert counts.tolist() == [2] * len(identities)
        groups = Counter(
            training.group[np.unique(training.identity, return_index=True)[1]][
                np.searchsorted(np.unique(training.identity), identities)
            ].tolist()
        )
        assert set(groups.values()) == {2}
        seen.update(groups)
    assert len(seen) == len(np.unique(training.group))


def test_the_sampler_of_labelled_pairs_is_that_of_linked_groups(tmp_path: Path) -> None:
    training = read_splits(pairs_recipe(tmp_path, rows())).training
    batch = next(endless_batches(training, Sampler(classes=8, per_class=2, grouped_share=1.0), seed_everything(0)))
    assert len(np.unique(training.identity[batch])) == 2 * len(np.unique(training.group[batch]))


def test_of_very_many_groups_some_are_drawn_and_never_all_combinations_listed() -> None:
    identity = np.repeat(np.arange(2400), 2)
    many = LabelledItems([{}] * 4800, identity, identity, identity // 4, identity, ("",))
    choice = Sampler(classes=8, per_class=2, grouped_share=1.0, groups=4)
    batches = endless_batches(many, choice, seed_everything(0))
    for _ in range(5):
        batch = next(batches)
        assert len(batch) == 16
        assert len(np.unique(many.group[batch])) == 4
        assert len(np.unique(many.identity[batch])) == 8


def embedded(pairs: LabelledPairs) -> Embedded:
    """Six items: 0, 1 and 2 are one thing, 3 and 4 another, 5 alone."""
    identity = np.array([0, 0, 0, 1, 1, 2])
    zeros = np.zeros_like(identity)
    items = LabelledItems([{"text": str(at)} for at in range(6)], identity, identity, zeros, zeros, ("",), (), pairs)
    vectors = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    return Embedded(items, np.arange(6), Embeddings(np.ones(6, np.bool_), vectors, None, None, {}))


def labelled(*said: tuple[int, int, str]) -> LabelledPairs:
    kinds = sorted({kind for *_, kind in said if kind})
    a, b, kind = zip(*said, strict=True)
    label = np.array([not one for one in kind])
    return LabelledPairs(np.array(a), np.array(b), label, np.array(kind), dict.fromkeys(kinds, "words"))


def test_the_labelled_pairs_are_what_is_measured_and_random_is_what_nobody_labelled() -> None:
    chosen = Calibration(population="made up", unit="thing", random="another")
    items = embedded(labelled((1, 0, ""), (4, 3, ""), (5, 2, "near"), (0, 3, "near"), (2, 4, "far")))
    scores = score_all_pairs(items, "cosine", chosen, seed=0)
    assert scores.genuine.pairs == 2  # items 0 and 2 match through 1, which nobody said
    assert {name: len(pairs.score) for name, pairs in scores.impostors.items()} == {"random": 8, "near": 2, "far": 1}
    hard = {(row["kind"], frozenset((row["item_a"], row["item_b"]))) for row in scores.hardest}
    assert ("near", frozenset("25")) in hard
    assert ("genuine", frozenset("02")) not in hard
    own = embedded(labelled((1, 0, ""), (4, 3, ""), (5, 2, "random")))
    assert len(score_all_pairs(own, "cosine", chosen, seed=0).impostors["random"].score) == 1


def test_units_of_the_table_stay_whole(tmp_path: Path) -> None:
    """Couples c and c + 20 are of the same two people."""
    said = []
    for place, row in enumerate(rows()):
        couple, turn = divmod(place, 5)
        first, second = f"ann {couple % 20}", f"bob {couple % 20}"
        unit_a, unit_b = (first, second) if turn == 4 else (first, first) if turn < 2 else (second, second)
        said.append(row | {"unit_a": unit_a, "unit_b": unit_b})
    splits = read_splits(pairs_recipe(tmp_path, said))
    units = [set(part.unit.tolist()) for part in splits.parts().values()]
    assert sum(map(len, units)) == len(set.union(*units)) == 40
    identities = [set(part.identity.tolist()) for part in splits.parts().values()]
    assert sum(map(len, identities)) == len(set.union(*identities)) == 80


@pytest.mark.parametrize(
    ("said", "data", "words"),
    [
        (rows(), 'impostors = { far = "x" }', "has no pairs of type 'far'; its types are near"),
        (rows(), 'impostors = { "a b" = "x" }', "is no type"),
        (rows(), 'columns = { a = "left" }', "there is no column left"),
        ([row for row in rows() if row["label"] == 0], "", "has one item; matching takes two"),
        (
            [*rows(), {"a": word(0, 0), "b": word(0, 1), "label": 0, "impostor": ""}],
            "",
            "label the same pair differently",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, said: list[dict[str, Any]], data: str, words: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_splits(pairs_recipe(tmp_path, said, data))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('random = "another intent of any domain"', 'random = "x"\nhard = "y"', "calibration.hard"),
        ("grouped_share = 0.5", "grouped_share = 0.5\ngroups = 4", "sampler.groups"),
    ],
)
def test_what_does_not_count_for_labelled_pairs_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    write_table(tmp_path / "pairs.csv", rows())
    data = f'reader = "pairs"\ntable = "pairs.csv"\n{SHARED}'
    with pytest.raises(CommandError, match=words):
        own_recipe(tmp_path / "r.toml", data, more=MORE | {old: new})
