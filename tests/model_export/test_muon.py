"""Muon: filters move in every direction alike, all other weights as AdamW moves them, and a resumed one goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from model_export.training.checkpoints import optimiser_tensors, restore_optimiser
from model_export.training.muon import ADAM_SIZE, BETAS, EPSILON, Muon, orthogonalise

RATE = 0.01


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 3)
    return nn.Sequential(*layers)


def learn(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> list[float]:
    """Tell three gratings apart; the losses."""
    wave = torch.sin(torch.arange(8) * torch.tensor([[0.5], [1.5], [2.5]]))
    pictures = wave.view(3, 1, 1, 8).expand(3, 1, 8, 8)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(pictures), torch.arange(3))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_an_orthogonalised_matrix_keeps_its_directions_and_moves_in_all_of_them_alike(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = left * values.clamp_min(0.3) @ right
    after = left.T @ orthogonalise(matrix) @ right.T
    assert after.shape == (min(shape), min(shape))
    assert torch.allclose(after, torch.diag(after.diagonal()), atol=1e-3)
    assert float(after.diagonal().min()) > 0.4
    assert float(after.diagonal().max()) < 1.3


def test_filters_move_by_the_rate_and_other_weights_as_adamw_moves_them() -> None:
    net = network()
    other = copy.deepcopy(net)
    groups = [{"params": list(net.parameters())}]
    before = [weight.detach().clone() for weight in net.parameters()]
    learn(net, Muon(groups, rate=RATE, weight_decay=0.0), 1)
    learn(other, torch.optim.AdamW(other.parameters(), lr=RATE, betas=BETAS, eps=EPSILON, weight_decay=0.0), 1)
    for was, weight, adam in zip(before, net.parameters(), other.parameters(), strict=True):
        if weight.ndim == 4 and weight.shape[1] > 1:
            size = float((weight - was).detach().square().mean().sqrt())
            assert abs(size / (RATE * ADAM_SIZE) - 1) < 0.5
            assert not torch.allclose(weight, adam)
        else:
            assert torch.allclose(weight, adam, atol=1e-6)


def test_weights_that_get_no_gradient_stay_and_decay_pulls_the_others_to_zero() -> None:
    net = network()
    frozen = next(iter(net.parameters()))
    frozen.requires_grad_(False)
    was = frozen.clone()
    losses = learn(net, Muon([{"params": list(net.parameters())}], rate=RATE, weight_decay=0.1), 40)
    assert losses[-1] < 0.2 * losses[0]
    assert torch.equal(frozen, was)


def test_a_restored_muon_goes_on_to_the_same_bits() -> None:
    whole, half = network(), network()
    learn(whole, Muon([{"params": list(whole.parameters())}], rate=RATE, weight_decay=0.01), 6)
    first = Muon([{"params": list(half.parameters())}], rate=RATE, weight_decay=0.01)
    learn(half, first, 3)
    second = Muon([{"params": list(half.parameters())}], rate=RATE, weight_decay=0.01)
    restore_optimiser(second, {name: value.clone() for name, value in optimiser_tensors(first).items()})
    learn(half, second, 3)
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)
