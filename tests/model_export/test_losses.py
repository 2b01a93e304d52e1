"""Losses and miners: what each pulls and pushes, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model_export import recipe
from model_export.losses import active_share, make_loss, make_miner, weights_to_move

LOSSES = {
    "contrastive": {},
    "euclidean contrastive": {"name": "contrastive", "distance": "euclidean", "margin": 1.0},
    "triplet": {},
    "euclidean triplet": {"name": "triplet", "distance": "euclidean", "margin": 1.0},
    "supervised_contrastive": {},
    "multi_similarity": {},
    "nt_xent": {},
    "circle": {},
    "proxy_anchor": {},
    "arcface": {},
}
LEARNT = ("proxy_anchor", "arcface")


def loss_choice(name: str, **options: object) -> recipe.Loss:
    adapter: TypeAdapter[recipe.Loss] = TypeAdapter(recipe.Loss)
    return adapter.validate_python({"name": name} | LOSSES.get(name, {}) | options)


def miner_choice(name: str, **options: object) -> recipe.Miner:
    adapter: TypeAdapter[recipe.Miner] = TypeAdapter(recipe.Miner)
    return adapter.validate_python({"name": name} | options)


def at_angles(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane."""
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=1).requires_grad_()


def value_and_pull(loss: Any, vectors: torch.Tensor, labels: list[int], mined: Any = None) -> tuple[float, Any]:
    value = loss(vectors, torch.tensor(labels), mined)
    (pull,) = torch.autograd.grad(value, vectors)
    return value.item(), pull


@pytest.mark.parametrize("name", LOSSES)
def test_following_any_loss_downhill_brings_identities_together_and_apart(name: str) -> None:
    torch.manual_seed(0)
    choice = loss_choice(name)
    loss = make_loss(choice, classes=4, dimension=6)
    raw = torch.randn(16, 6, requires_grad=True)
    labels = torch.arange(16) % 4
    optimiser = torch.optim.Adam([raw, *loss.parameters()], lr=0.1)

    def gap() -> float:
        units = torch.nn.functional.normalize(raw.detach())
        cosines, same = units @ units.T, labels[:, None] == labels
        return float(cosines[same & ~torch.eye(16, dtype=torch.bool)].mean() - cosines[~same].mean())

    assert gap() < 0.2
    for _ in range(60):
        optimiser.zero_grad()
        loss(raw if "euclidean" in name else torch.nn.functional.normalize(raw), labels).backward()
        optimiser.step()
    assert gap() > 0.6


def test_contrastive_on_cosine_pulls_genuine_pairs_and_leaves_impostors_beyond_the_margin() -> None:
    loss = make_loss(loss_choice("contrastive", margin=0.5), classes=2, dimension=2)
    value, pull = value_and_pull(loss, at_angles(0, 60), [0, 0])
    assert value == pytest.approx(0.5, abs=1e-6)  # 1 - cos 60
    assert pull[0, 1] < 0  # downhill the first turns towards the second
    value, pull = value_and_pull(loss, at_angles(0, 70), [0, 1])  # cos 70 = 0.342 is below 1 - 0.5
    assert value == 0
    assert float(pull.abs().max()) == 0
    value, pull = value_and_pull(loss, at_angles(0, 45), [0, 1])
    assert value == pytest.approx(math.cos(math.pi / 4) - 0.5, abs=1e-6)
    assert pull[0, 1] > 0  # and is pushed away


def test_contrastive_on_distance_pulls_genuine_pairs_and_leaves_impostors_beyond_the_margin() -> None:
    loss = make_loss(loss_choice("contrastive", distance="euclidean", margin=2.0), classes=2, dimension=2)
    value, pull = value_and_pull(loss, torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True), [0, 0])
    assert value == pytest.approx(5.0)  # the whole distance: the vectors are not scaled to length 1
    assert pull[0].tolist() == pytest.approx([-0.6 * 1, -0.8 * 1])  # downhill the first moves towards (3, 4)
    value, pull = value_and_pull(loss, torch.tensor([[0.0, 0.0], [2.1, 0.0]], requires_grad=True), [0, 1])
    assert value == 0
    assert float(pull.abs().max()) == 0
    value, pull = value_and_pull(loss, torch.tensor([[0.0, 0.0], [0.5, 0.0]], requires_grad=True), [0, 1])
    assert value == pytest.approx(1.5)
    assert pull[0, 0] > 0  # downhill is away from the impostor


def test_the_triplet_margin_flips_with_the_distance() -> None:
    cosine = make_loss(loss_choice("triplet", margin=0.3), classes=2, dimension=2)
    vectors, labels = at_angles(0, 60, 70), [0, 0, 1]
    triplet = tuple(torch.tensor([place]) for place in (0, 1, 2))
    value, _ = value_and_pull(cosine, vectors, labels, triplet)
    assert value == pytest.approx(math.cos(math.radians(70)) - 0.5 + 0.3, abs=1e-6)
    assert value_and_pull(cosine, at_angles(0, 60, 100), labels, triplet)[0] == 0  # 0.5 - (-0.17) is beyond 0.3
    euclidean = make_loss(loss_choice("triplet", distance="euclidean", margin=0.3), classes=2, dimension=2)
    line = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.2, 0.0]], requires_grad=True)
    assert value_and_pull(euclidean, line, labels, triplet)[0] == pytest.approx(2 - 2.2 + 0.3)
    far = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.4, 0.0]], requires_grad=True)
    assert value_and_pull(euclidean, far, labels, triplet)[0] == 0


@pytest.mark.parametrize(("distance", "points"), [("cosine", (0, 40, 50, 30, 120)), ("euclidean", (0, 4, 5, 3, 12))])
def test_miners_pick_the_same_triplets_by_angle_and_by_distance(distance: str, points: tuple[float, ...]) -> None:
    """Item 0's genuine item is 1; impostors are 2 (a little further), 3 (nearer) and 4 (far)."""
    choice = loss_choice("triplet", distance=distance)
    line = torch.tensor([[float(point), 0.0] for point in points])
    vectors = at_angles(*points).detach() if distance == "cosine" else line
    labels = torch.tensor([0, 0, 1, 2, 3])

    def mined(name: str, **options: object) -> set[tuple[int, ...]]:
        found = make_miner(miner_choice(name, **options), choice)(vectors, labels)
        return {row for row in zip(*(part.tolist() for part in found), strict=True) if row[0] == 0}

    margin = 0.2 if distance == "cosine" else 2.0  # cos 40 - cos 50 = 0.12; 5 - 4 = 1
    assert mined("semi_hard", margin=margin) == {(0, 1, 2)}
    assert mined("batch_hard") == {(0, 1, 3)}
    first, genuine, second, impostor = make_miner(miner_choice("multi_similarity", epsilon=1e-3), choice)(
        vectors, labels
    )
    assert (0, 1) in zip(first.tolist(), genuine.tolist(), strict=True)
    hard = {one for place, one in zip(second.tolist(), impostor.tolist(), strict=True) if place == 0}
    assert hard == {3}  # nearer than the genuine item


@pytest.mark.parametrize("per_class", [2, 4])
def test_single_pairs_take_each_item_once_and_half_of_them_are_genuine(per_class: int) -> None:
    labels = torch.arange(8).repeat_interleave(per_class)[torch.randperm(8 * per_class)]
    miner, choice = make_miner(miner_choice("single_pairs"), loss_choice("contrastive")), loss_choice("contrastive")
    first, genuine, second, impostor = miner(torch.zeros(len(labels), 2), labels)
    assert len(first) == len(second) == len(labels) // 4
    assert sorted(torch.cat([first, genuine, second, impostor]).tolist()) == list(range(len(labels)))
    assert (labels[first] == labels[genuine]).all()
    assert (labels[second] != labels[impostor]).all()
    again = miner(torch.zeros(len(labels), 2), labels)[3]
    assert not torch.equal(impostor, again)  # drawn anew
    # Of the pairs picked, not of all: all items at one point, the genuine pairs are done and the impostors are not.
    assert (
        active_share(make_loss(choice, classes=8, dimension=2), miner, at_angles(*[0.0] * len(labels)), labels) == 0.5
    )


def test_losses_of_pairs_learn_from_the_mined_triplets_alone() -> None:
    vectors, labels = at_angles(0, 40, 70, 100), [0, 0, 1, 1]
    mined = tuple(torch.tensor([place] * 2) for place in (0, 1, 2))  # of one pair alone the library makes nothing
    genuine, impostor = math.cos(math.radians(40)), math.cos(math.radians(70))
    contrastive = make_loss(loss_choice("contrastive", margin=0.9), classes=2, dimension=2)
    value, pull = value_and_pull(contrastive, vectors, labels, mined)
    assert value == pytest.approx((1 - genuine) + (impostor - 0.1), abs=1e-6)
    assert float(pull[3].abs().max()) == 0
    supervised = make_loss(loss_choice("supervised_contrastive", temperature=0.5), classes=2, dimension=2)
    value, pull = value_and_pull(supervised, vectors, labels, mined)
    assert value == pytest.approx(math.log(1 + math.exp((impostor - genuine) / 0.5)), abs=1e-5)
    assert float(pull[3].abs().max()) == 0


def test_no_miner_means_none() -> None:
    assert make_miner(recipe.NoMiner(), loss_choice("triplet")) is None


@pytest.mark.parametrize("name", LEARNT)
def test_class_vectors_are_moved_faster_by_the_factor_of_the_recipe(name: str) -> None:
    choice = loss_choice(name, rate_factor=7.0)
    loss = make_loss(choice, classes=5, dimension=3)
    encoder = torch.nn.Linear(4, 3)
    encoder.bias.requires_grad_(False)
    groups = weights_to_move(encoder, loss, choice, 0.01)
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.07])
    assert [sum(one.numel() for one in group["params"]) for group in groups] == [12, 15]  # the frozen bias is not moved
    assert len(weights_to_move(encoder, loss, loss_choice("circle"), 0.01)) == 1


def test_arcface_and_proxy_anchor_are_what_their_papers_say() -> None:
    torch.manual_seed(0)
    vectors, labels = torch.nn.functional.normalize(torch.randn(4, 3)), torch.tensor([0, 1, 1, 2])
    arcface: Any = make_loss(loss_choice("arcface", margin_degrees=20, scale=8), classes=3, dimension=3)
    cosine = vectors @ torch.nn.functional.normalize(arcface.W.detach(), dim=0)
    cosine[range(4), labels] = torch.cos(torch.acos(cosine[range(4), labels]) + math.radians(20))
    wanted = torch.nn.functional.cross_entropy(cosine * 8, labels)
    assert arcface(vectors, labels).item() == pytest.approx(float(wanted), rel=1e-5)
    anchor: Any = make_loss(loss_choice("proxy_anchor", margin=0.1, alpha=4), classes=3, dimension=3)
    cosine = vectors @ torch.nn.functional.normalize(anchor.proxies.detach()).T
    own = torch.nn.functional.one_hot(labels, 3).bool()
    pulled = torch.log(1 + torch.where(own, torch.exp(-4 * (cosine - 0.1)), 0).sum(dim=0)).sum() / 3
    pushed = torch.log(1 + torch.where(own, 0, torch.exp(4 * (cosine + 0.1))).sum(dim=0)).sum() / 3
    assert anchor(vectors, labels).item() == pytest.approx(float(pulled + pushed), rel=1e-5)


def test_the_active_share_of_triplets_and_pairs_is_counted_by_hand() -> None:
    labels = torch.tensor([0, 0, 1])
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.6, 0.0]])
    triplet = loss_choice("triplet", distance="euclidean", margin=0.5)
    # Two triplets: from 0, 1 - 1.6 + 0.5 < 0, no loss; from 1, 1 - 0.6 + 0.5 > 0.
    assert active_share(make_loss(triplet, classes=2, dimension=2), None, vectors, labels) == 0.5
    pairs = loss_choice("contrastive", distance="euclidean", margin=1.0)
    # Six ordered pairs: 0-1 genuine and apart; 1-2 impostors within 1; 0-2 impostors beyond.
    loss = make_loss(pairs, classes=2, dimension=2)
    assert active_share(loss, None, vectors, labels) == pytest.approx(4 / 6)
    semi_hard = make_miner(miner_choice("semi_hard", margin=0.7), triplet)
    # Semi-hard: from 0, 1.6 - 1 is in (0, 0.7]; from 1 the impostor is nearer. What it leaves out counts as not active.
    wide = make_loss(loss_choice("triplet", distance="euclidean", margin=0.7), classes=2, dimension=2)
    assert active_share(wide, semi_hard, vectors, labels) == 0.5
    hardest = make_miner(miner_choice("batch_hard"), triplet)
    hard = make_loss(triplet, classes=2, dimension=2)
    assert active_share(hard, hardest, vectors, labels) == 0.5  # of two picked triplets, the one from 1
    together = torch.tensor([[0.0, 0.0], [0.0, 0.0], [9.0, 0.0]])
    assert active_share(hard, hardest, together, labels) == 0
    assert active_share(loss, None, together, labels) == 0


@pytest.mark.parametrize("name", ["supervised_contrastive", "nt_xent", "multi_similarity", "circle"])
def test_a_loss_that_is_never_zero_has_fewer_active_pairs_where_all_is_learnt(name: str) -> None:
    loss, labels = make_loss(loss_choice(name), classes=3, dimension=2), torch.tensor([0, 0, 1, 1, 2, 2])
    mixed = active_share(loss, None, at_angles(0, 100, 20, 130, 60, 200), labels)
    learnt = active_share(loss, None, at_angles(0, 0, 120, 130, 240, 240), labels)
    assert mixed is not None
    assert learnt is not None
    assert learnt < mixed <= 1


def test_losses_of_class_vectors_have_no_active_pairs() -> None:
    for name in LEARNT:
        loss = make_loss(loss_choice(name), classes=2, dimension=2)
        assert active_share(loss, None, at_angles(0, 10), torch.tensor([0, 1])) is None


def test_a_share_leaves_no_trace_in_the_gradients() -> None:
    vectors = at_angles(0, 30, 60)
    active_share(make_loss(loss_choice("circle"), classes=2, dimension=2), None, vectors, torch.tensor([0, 0, 1]))
    assert vectors.grad is None


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("triplet", "temperature"),
        ("supervised_contrastive", "margin"),
        ("circle", "distance"),
        ("contrastive", "alpha"),
        ("arcface", "margin"),
    ],
)
def test_a_parameter_of_another_loss_is_refused_by_name(name: str, option: str) -> None:
    with pytest.raises(ValidationError, match=rf"(?s){name}\.{option}.*not permitted"):
        loss_choice(name, **{option: 0.5})


def test_a_margin_that_no_cosine_can_meet_is_refused() -> None:
    with pytest.raises(ValidationError, match="at most 2"):
        loss_choice("contrastive", margin=2.5)
    assert loss_choice("contrastive", margin=2.5, distance="euclidean")
