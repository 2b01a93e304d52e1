"""Distortion of pictures: what is said is done, nothing else changes, and new identities are told apart by label."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from model_export import recipe
from model_export.augment import Batch, pictures
from model_export.augment.choosing import augment
from model_export.augment.composing import compose_identities

SIDE, CLASSES, EACH = 24, 12, 3
LABELS = torch.arange(CLASSES).repeat_interleave(EACH)


def batch() -> Batch:
    """A grey square for each identity, at a place of its own."""
    pixels = torch.full((CLASSES * EACH, SIDE, SIDE, 1), 255, dtype=torch.uint8)
    for place, label in enumerate(LABELS.tolist()):
        row, column = 4 + 4 * (label // 4), 4 + 4 * (label % 4)
        pixels[place, row : row + 3, column : column + 5] = 10 + 15 * label
    return {"pixels": pixels}


def ink(kept: Batch) -> torch.Tensor:
    return 255.0 - kept["pixels"].permute(0, 3, 1, 2).to(torch.float32)


def choose(**options: float) -> recipe.PictureAugmentation:
    return recipe.PictureAugmentation.model_validate({"kind": "picture", **options})


def test_a_choice_that_names_nothing_changes_no_pixel_and_no_label() -> None:
    after, labels = augment(batch(), LABELS, choose())
    assert torch.allclose(after["pixels"], batch()["pixels"].to(torch.float32), atol=1e-3)
    assert torch.equal(labels, LABELS)


@pytest.mark.parametrize("option", ["rotation_degrees", "shear_degrees", "scale", "shift", "elastic", "thickness"])
def test_every_distortion_changes_pictures_and_leaves_their_labels(option: str) -> None:
    torch.manual_seed(0)
    amount = {"rotation_degrees": 20.0, "shear_degrees": 20.0, "elastic": 0.05}.get(option, 0.3)
    after, labels = augment(batch(), LABELS, choose(**{option: amount}))
    changed = (after["pixels"] - batch()["pixels"].to(torch.float32)).abs().amax(dim=(1, 2, 3))
    assert int((changed > 5).sum()) > len(LABELS) / 2
    assert torch.equal(labels, LABELS)
    assert float(after["pixels"].min()) >= 0.0
    assert float(after["pixels"].max()) <= 255.0 + 1e-3


def test_the_grid_is_that_of_torch() -> None:
    torch.manual_seed(1)
    theta = torch.randn(5, 2, 3)
    wanted = functional.affine_grid(theta, [5, 1, 7, 9], align_corners=False)
    assert torch.allclose(pictures._affine_grid(theta, 7, 9), wanted, atol=1e-5)


def test_strokes_grow_and_thin_by_one_pixel() -> None:
    square = torch.zeros(2, 1, 9, 9)
    square[:, :, 3:6, 3:6] = 1.0
    after = pictures.thicken(square, torch.tensor([1.0, -1.0]))
    assert after.sum(dim=(1, 2, 3)).tolist() == [25.0, 1.0]


def test_strokes_at_the_edge_are_not_thinned_from_beyond_it() -> None:
    full = torch.ones(1, 1, 5, 5)
    assert torch.equal(pictures.thicken(full, torch.tensor([-1.0])), full)


def test_a_batch_turned_as_a_whole_has_one_turn_and_labels_of_its_own() -> None:
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        turned, labels = pictures.turn_batch(ink(batch()), LABELS)
        (way,) = set((labels - LABELS * pictures.WAYS_TO_TURN).tolist())
        seen.add(way)
        back = torch.rot90(turned, -(way % 4), (2, 3))
        assert torch.equal(back.flip(3) if way >= 4 else back, ink(batch()))
    assert seen == set(range(1, pictures.WAYS_TO_TURN))


def test_an_upright_identity_has_one_label_whether_its_batch_could_be_turned_or_not() -> None:
    for option, ways in (("turned_batch_share", 8), ("quarter_turn_share", 4)):
        labels = {0}
        for seed in range(20):
            torch.manual_seed(seed)
            _, drawn = augment(batch(), LABELS, choose(**{option: 0.5}))
            labels |= set(drawn.tolist())
        assert labels <= set(range(CLASSES * ways))
        assert {label * ways for label in range(CLASSES)} <= labels


def test_two_ways_of_turning_are_refused() -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        choose(turned_batch_share=0.5, quarter_turn_share=0.5)


def test_composed_identities_replace_their_share_and_are_alike_within_and_unlike_all_others() -> None:
    torch.manual_seed(2)
    before = ink(batch())
    after, labels = compose_identities(before, LABELS, 0.25)
    new = labels >= CLASSES
    assert int(new.sum()) == CLASSES // 4 * EACH
    assert torch.equal(after[~new], before[~new])
    assert torch.equal(labels[~new], LABELS[~new])
    assert torch.unique(labels[new], return_counts=True)[1].tolist() == [EACH] * (CLASSES // 4)
    for label in torch.unique(labels[new]):
        # the same two parts in every drawing: two levels of grey, those of two identities
        levels = after[labels == label].amax(dim=(1, 2, 3))
        assert float(levels.max() - levels.min()) < 60
        parts = [(drawing > 0).any(dim=0).sum() for drawing in after[labels == label]]
        assert min(parts) > 4


def test_nothing_is_composed_of_a_batch_of_one_identity() -> None:
    one = ink(batch())[:EACH]
    after, labels = compose_identities(one, LABELS[:EACH], 0.9)
    assert after is one
    assert labels.tolist() == [0] * EACH


def test_the_batch_that_was_given_is_left_as_it_was() -> None:
    given, labels = batch(), LABELS.clone()
    augment(given, labels, choose(composed_share=0.5, turned_batch_share=1.0, thickness=0.5))
    assert torch.equal(given["pixels"], batch()["pixels"])
    assert torch.equal(labels, LABELS)
