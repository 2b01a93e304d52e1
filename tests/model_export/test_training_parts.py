"""Samplers and augmentation do what a recipe says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model_export import recipe
from model_export.augment.choosing import augment, identities_each
from model_export.augment.pictures import distort, turn_identities
from model_export.datasets import LabelledItems
from model_export.sampling import class_labels, endless_batches, nearest_identities, seed_everything


def labelled(groups: int = 6, identities: int = 30, copies: int = 6) -> LabelledItems:
    count = groups * identities * copies
    identity = np.repeat(np.arange(groups * identities), copies)
    return LabelledItems(
        [{}] * count,
        identity,
        identity,
        identity // identities,
        np.arange(count) % copies,
        tuple(map(str, range(groups))),
    )


def test_batches_hold_m_items_a_class_and_their_share_comes_from_few_groups() -> None:
    items = labelled()
    choice = recipe.Sampler(classes=20, per_class=4, grouped_share=0.5, groups=2)
    batches = endless_batches(items, choice, seed_everything(0))
    few = 0
    for _ in range(200):
        chosen = next(batches)
        counts = np.unique(items.identity[chosen], return_counts=True)[1]
        assert len(chosen) == 80
        assert (counts == 4).all()
        few += len(np.unique(items.group[chosen])) == 2
    assert 70 <= few <= 130


def test_same_seed_gives_the_same_batches() -> None:
    choice = recipe.Sampler(classes=20, per_class=4, grouped_share=0.5, groups=2)

    def draw(seed: int) -> list[list[int]]:
        batches = endless_batches(labelled(), choice, seed_everything(seed))
        return [next(batches).tolist() for _ in range(20)]

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def on_a_line(identities: int, copies: int) -> tuple[LabelledItems, np.ndarray]:
    """Items of identities that lie on a line, in an order that their numbers do not tell."""
    items = labelled(groups=1, identities=identities, copies=copies)
    rng = np.random.default_rng(0)
    place = rng.permutation(identities)[items.identity] * 1.0
    return items, np.stack([place, rng.normal(0, 0.1, len(place))], axis=1).astype(np.float32)


def test_nearest_identities_are_those_of_the_nearest_means() -> None:
    vectors = np.array([[0, 0], [2, 0], [10, 0], [12, 0], [4, 0], [4, 2]], np.float32)
    labels = np.array([0, 0, 1, 1, 2, 2])  # means at (1, 0), (11, 0) and (4, 1)
    assert nearest_identities(vectors, labels, 2).tolist() == [[2, 1], [2, 0], [0, 1]]


def test_mined_batches_hold_nearer_impostors_than_drawn_ones_and_their_share_is_kept() -> None:
    items, vectors = on_a_line(identities=60, copies=5)
    asked: list[int] = []

    def embed() -> np.ndarray:
        asked.append(len(asked))
        return vectors

    choice = recipe.Sampler(classes=12, per_class=4, grouped_share=0, remined_share=0.5, neighbours=3)
    batches = endless_batches(items, choice, seed_everything(0), embed)
    gaps = []
    for _ in range(100):
        chosen = next(batches)
        assert (np.unique(items.identity[chosen], return_counts=True)[1] == 4).all()
        assert len(chosen) == 48
        assert len(np.unique(chosen)) == 48  # an item comes once where its identity has enough
        means = vectors[chosen].reshape(12, 4, 2).mean(axis=1)
        apart = np.abs(means[:, np.newaxis, 0] - means[:, 0]) + np.eye(12) * 99
        gaps.append(float(np.median(apart.min(axis=1))))
    assert asked == [0]
    mined = [gap for gap in gaps if gap < 1.5]  # neighbours on the line are 1 apart
    assert 30 <= len(mined) <= 70
    assert np.median([gap for gap in gaps if gap >= 1.5]) >= 2


def test_mined_batches_are_the_same_for_the_same_weights_and_seed() -> None:
    items, vectors = on_a_line(identities=30, copies=3)
    choice = recipe.Sampler(classes=8, per_class=4, grouped_share=0, remined_share=1, neighbours=3)

    def draw(seed: int, weights: np.ndarray) -> list[list[int]]:
        batches = endless_batches(items, choice, seed_everything(seed), lambda: weights)
        return [next(batches).tolist() for _ in range(5)]

    assert draw(1, vectors) == draw(1, vectors)
    assert draw(1, vectors) != draw(2, vectors)
    assert draw(1, vectors) != draw(1, vectors[::-1])


def test_nobody_embeds_where_nothing_is_mined() -> None:
    items, _ = on_a_line(identities=30, copies=3)
    choice = recipe.Sampler(classes=8, per_class=2, grouped_share=0)

    def embed() -> np.ndarray:
        raise AssertionError

    assert len(next(endless_batches(items, choice, seed_everything(0), embed))) == 16
    mining = recipe.Sampler(classes=8, per_class=2, grouped_share=0, remined_share=0.5)
    with pytest.raises(ValueError, match="needs the embeddings"):
        next(endless_batches(items, mining, seed_everything(0)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"neighbours": 3}, "only beside remined_share"),
        ({"remined_share": 0.5, "neighbours": 8}, "fewer than classes"),
        ({"remined_share": 0.5, "grouped_share": 0.6}, "shares of one whole"),
    ],
)
def test_a_sampler_that_contradicts_itself_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        recipe.Sampler.model_validate({"classes": 8, "per_class": 2, "grouped_share": 0} | options)


def test_quarter_turns_make_new_identities_of_whole_turns() -> None:
    torch.manual_seed(1)
    ink = torch.rand(40, 1, 8, 8)
    labels = torch.arange(40) // 4
    turned, new = turn_identities(ink, labels)
    assert (new // 4 == labels).all()
    assert len(set(zip(labels.tolist(), new.tolist(), strict=True))) == 10  # one turn for all items of an identity
    for picture, before, label in zip(turned, ink, new, strict=True):
        assert torch.equal(picture, torch.rot90(before, int(label % 4), (1, 2)))


def test_a_label_means_one_identity_in_turned_and_in_upright_batches() -> None:
    torch.manual_seed(0)
    choice = recipe.PictureAugmentation(kind="picture", quarter_turn_share=0.5)
    assert identities_each(choice) == 4
    shown: dict[int, torch.Tensor] = {}
    pictures = torch.randint(0, 256, (3, 6, 6, 1), dtype=torch.uint8)
    for _ in range(40):
        batch, labels = augment({"pixels": pictures}, torch.arange(3), choice)
        for pixels, label in zip(batch["pixels"], labels.tolist(), strict=True):
            assert torch.allclose(shown.setdefault(label, pixels), pixels, atol=1e-3)
    assert set(shown) == set(range(12))
    unturned = recipe.PictureAugmentation(kind="picture", shift=0.1)
    assert identities_each(unturned) == identities_each(recipe.NoAugmentation()) == 1
    assert augment({"pixels": pictures}, torch.arange(3), unturned)[1].tolist() == [0, 1, 2]


def test_class_labels_have_no_gaps_and_keep_who_is_who() -> None:
    items = labelled(groups=1, identities=4, copies=2)
    gappy = LabelledItems(items.items, items.identity * 7 + 3, items.unit, items.group, items.source, ("0",))
    assert class_labels(gappy).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_distortion_without_spread_changes_nothing() -> None:
    ink = torch.rand(3, 1, 16, 16)
    assert torch.allclose(distort(ink, recipe.PictureAugmentation(kind="picture")), ink, atol=1e-5)


def test_distortion_moves_ink_and_keeps_paper_blank() -> None:
    torch.manual_seed(0)
    ink = torch.zeros(8, 1, 32, 32)
    ink[:, :, 12:20, 12:20] = 1
    choice = recipe.PictureAugmentation(kind="picture", rotation_degrees=15, shear_degrees=12, scale=0.2, shift=0.1)
    moved = distort(ink, choice)
    assert not torch.allclose(moved, ink)
    assert moved[:, :, 0, 0].abs().max() == 0
    assert (moved.sum(dim=(1, 2, 3)) > 30).all()
