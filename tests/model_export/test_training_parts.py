"""Samplers and augmentation do what a recipe says."""

from __future__ import annotations

import numpy as np
import torch

from model_export import recipe
from model_export.augment.choosing import augment, identities_each
from model_export.augment.pictures import distort, turn_identities
from model_export.datasets import LabelledItems
from model_export.sampling import class_labels, endless_batches, seed_everything


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
