"""Distortion of sequences and texts: what is said is done, and nothing else changes."""

from __future__ import annotations

import torch

from model_export import recipe
from model_export.augment import Batch, sequences, texts
from model_export.augment.choosing import augment

LABELS = torch.arange(6)


def batch(name: str = "values") -> Batch:
    torch.manual_seed(0)
    mask = torch.ones(6, 100)
    mask[0, 60:] = 0
    return {name: torch.randn(6, 100, 8) * mask.unsqueeze(-1), "mask": mask}


def test_no_augmentation_changes_nothing() -> None:
    before = batch()
    after, labels = augment(before, LABELS, recipe.NoAugmentation())
    assert after is before
    assert labels is LABELS
    after, _ = augment(before, LABELS, recipe.SequenceAugmentation(kind="sequence"))
    assert torch.equal(after["values"], before["values"])


def test_padding_stays_zero_under_every_distortion() -> None:
    torch.manual_seed(1)
    choice = recipe.SequenceAugmentation(
        kind="sequence", stretch=0.3, warp=0.2, gain=0.5, noise=1.0, hide_steps=0.3, hide_bands=0.3
    )
    for name in ("values", "features"):
        after = sequences.augment(batch(name), choice)
        assert after[name].shape[:2] == after["mask"].shape
        assert float((after[name] * (1 - after["mask"]).unsqueeze(-1)).abs().max()) == 0.0
        assert set(after["mask"].flatten().tolist()) == {0.0, 1.0}


def test_stretch_changes_the_pace_and_keeps_the_shape_of_the_curve() -> None:
    torch.manual_seed(2)
    ramp = {"values": torch.linspace(0, 1, 200).reshape(1, -1, 1), "mask": torch.ones(1, 200)}
    sizes = set()
    for _ in range(20):
        after = sequences.augment(ramp, recipe.SequenceAugmentation(kind="sequence", stretch=0.2))
        steps = after["values"].shape[1]
        sizes.add(steps)
        assert 158 <= steps <= 242
        assert torch.allclose(after["values"].flatten(), torch.linspace(0, 1, steps), atol=0.01)
    assert len(sizes) > 5


def test_gain_multiplies_values_and_adds_to_logarithms() -> None:
    choice = recipe.SequenceAugmentation(kind="sequence", gain=1.0)
    before = batch()
    torch.manual_seed(3)
    factor = (sequences.augment(before, choice)["values"] / before["values"])[1]
    assert float(factor.std()) < 1e-5
    assert float(factor.mean()) != 1.0
    before = batch("features")
    torch.manual_seed(3)
    added = (sequences.augment(before, choice)["features"] - before["features"])[1]
    assert float(added.std()) < 1e-5


def test_hidden_stretches_are_at_most_their_share() -> None:
    torch.manual_seed(4)
    flat = {"values": torch.ones(50, 100, 8), "mask": torch.ones(50, 100)}
    after = sequences.augment(flat, recipe.SequenceAugmentation(kind="sequence", hide_steps=0.3))["values"]
    hidden = (after == 0).all(dim=2).sum(dim=1)
    assert 0 < int(hidden.max()) <= 31
    runs = (torch.diff((after == 0).all(dim=2).int(), dim=1) == 1).sum(dim=1)
    assert int(runs.max()) <= 1


def test_hidden_tokens_leave_each_text_at_least_one() -> None:
    torch.manual_seed(5)
    ids = torch.randint(2, 50, (500, 3))
    mask = torch.ones(500, 3, dtype=torch.int64)
    mask[:, 2] = 0
    after = texts.augment(
        {"input_ids": ids, "attention_mask": mask}, recipe.TextAugmentation(kind="text", hide_tokens=0.6)
    )
    assert torch.equal(after["input_ids"], ids)
    assert int(after["attention_mask"].sum(dim=1).min()) >= 1
    assert not after["attention_mask"][:, 2].any()
    assert 0.2 < float(after["attention_mask"][:, :2].float().mean()) < 0.9
