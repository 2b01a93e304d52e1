"""Distortion of pictures and photographs: what is said is done, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from model_export import recipe
from model_export.augment import photographs, pictures
from model_export.augment.choosing import augment

LABELS = torch.arange(8)


def colours(count: int = 8) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"pixels": torch.randint(0, 256, (count, 12, 16, 3), dtype=torch.uint8)}


def test_a_photograph_without_a_draw_is_what_it_was() -> None:
    before = colours()
    after, labels = augment(before, LABELS, recipe.PhotographAugmentation(kind="photograph"))
    assert labels is LABELS
    assert torch.allclose(after["pixels"], before["pixels"].float(), atol=1e-3)


def test_about_half_are_mirrored_and_the_others_are_not() -> None:
    before = colours(64)["pixels"].float()
    after = photographs.augment(colours(64), recipe.PhotographAugmentation(kind="photograph", mirror=True))["pixels"]
    same = ((after - before).abs().amax(dim=(1, 2, 3)) < 1e-2).sum().item()
    turned = ((after - before.flip(2)).abs().amax(dim=(1, 2, 3)) < 1e-2).sum().item()
    assert same + turned == 64
    assert 16 < same < 48


def test_a_frame_shows_a_part_of_the_picture_only() -> None:
    ramp = torch.arange(16.0).reshape(1, 1, 16, 1).expand(8, 12, 16, 3) * 10
    choice = recipe.PhotographAugmentation(kind="photograph", crop=0.5)
    torch.manual_seed(1)
    after = photographs.augment({"pixels": ramp}, choice)["pixels"]
    spans = after.amax(dim=(1, 2, 3)) - after.amin(dim=(1, 2, 3))
    assert (spans <= 150.0 + 1e-3).all()
    assert (spans >= 65.0).all()  # half of the columns at least
    assert spans.max() - spans.min() > 10


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_light_changes_each_picture_by_its_own_draw_and_stays_in_range(name: str) -> None:
    before = colours()
    torch.manual_seed(2)
    choice = recipe.PhotographAugmentation.model_validate({"kind": "photograph", name: 0.4})
    after = photographs.augment(before, choice)["pixels"]
    assert 0.0 <= after.min() <= after.max() <= 255.0
    changed = (after - before["pixels"].float()).abs().mean(dim=(1, 2, 3))
    assert (changed > 0.01).all()
    assert len(torch.unique(changed)) == 8


def test_another_pen_keeps_the_paper_and_changes_the_strokes() -> None:
    pixels = torch.full((40, 15, 15, 1), 255, dtype=torch.uint8)
    pixels[:, 3:12, 6:9] = 0  # a stroke of three pixels
    torch.manual_seed(3)
    after, _ = pictures.augment(
        {"pixels": pixels}, torch.arange(40), recipe.PictureAugmentation(kind="picture", thickness=1.0)
    )
    ink = (255.0 - after["pixels"]).sum(dim=(1, 2, 3))
    before = float((255.0 - pixels[0].float()).sum())
    assert ink.min() < 0.8 * before < 1.2 * before < ink.max()
    assert (after["pixels"][:, :, :4] == 255).all()
