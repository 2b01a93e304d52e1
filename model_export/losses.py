"""Losses and miners by recipe name, all pytorch-metric-learning's, and what share of a batch still teaches.

Cosine similarity grows with likeness and Euclidean distance falls with it, so that margins flip. The library's
distances know which they are; only the two margins of the contrastive loss are set for each here.
"""

from __future__ import annotations

from typing import Any

import torch
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.losses.generic_pair_loss import GenericPairLoss
from pytorch_metric_learning.utils import loss_and_miner_utils
from torch import nn

from model_export import recipe
from model_export.recipe.sampling import distance_of
from model_export.single_pairs import SinglePairs

ACTIVE = 0.01
"""Where no loss is exactly zero, a pair is active from this share of the pull on it if all items were one."""


def make_loss(choice: recipe.Loss, *, classes: int, dimension: int) -> nn.Module:
    """The loss a recipe names; call it with (vectors, labels, mined), vectors float32 (batch, dimension).

    `classes` counts the identities of the training: a loss that learns a vector for each has parameters of its own, and
    takes labels of 0 to classes - 1. Vectors in half precision would turn those parameters into half precision too.
    """
    distance = _make_distance(choice)
    loss: nn.Module
    match choice:
        case recipe.ContrastiveChoice():
            # Genuine pairs are pulled to pos_margin, their best; impostors no further than neg_margin.
            best, away = (1.0, -choice.margin) if distance.is_inverted else (0.0, choice.margin)
            loss = losses.ContrastiveLoss(pos_margin=best, neg_margin=best + away, distance=distance)
        case recipe.TripletChoice():
            loss = losses.TripletMarginLoss(margin=choice.margin, distance=distance)
        case recipe.SupervisedContrastiveChoice():
            loss = losses.SupConLoss(temperature=choice.temperature, distance=distance)
        case recipe.NtXentChoice():
            loss = losses.NTXentLoss(temperature=choice.temperature, distance=distance)
        case recipe.MultiSimilarityChoice():
            loss = losses.MultiSimilarityLoss(choice.alpha, choice.beta, choice.base, distance=distance)
        case recipe.CircleChoice():
            loss = losses.CircleLoss(m=choice.margin, gamma=choice.scale, distance=distance)
        case recipe.ProxyAnchorChoice():
            loss = losses.ProxyAnchorLoss(classes, dimension, choice.margin, choice.alpha, distance=distance)
        case recipe.ArcFaceChoice():
            loss = losses.ArcFaceLoss(classes, dimension, choice.margin_degrees, choice.scale, distance=distance)
    return loss


def make_miner(choice: recipe.Miner, loss: recipe.Loss) -> Any:
    """The miner a recipe names, or None; call it with (vectors, labels). It compares as the loss does."""
    distance = _make_distance(loss)
    match choice:
        case recipe.SemiHardMiner():
            return miners.TripletMarginMiner(choice.margin, type_of_triplets="semihard", distance=distance)
        case recipe.BatchHardMiner():
            return miners.BatchHardMiner(distance=distance)
        case recipe.MultiSimilarityMiner():
            return miners.MultiSimilarityMiner(choice.epsilon, distance=distance)
        case recipe.SinglePairsMiner():
            return SinglePairs()
        case recipe.NoMiner():
            return None


def weights_to_move(encoder: nn.Module, loss: nn.Module, choice: recipe.Loss, rate: float) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimiser: the encoder's at `rate`, the loss's own class vectors faster.

    What the encoder has frozen is left out.
    """
    groups: list[dict[str, Any]] = [{"params": [one for one in encoder.parameters() if one.requires_grad], "lr": rate}]
    if isinstance(choice, recipe.ClassVectorLoss):
        groups.append({"params": list(loss.parameters()), "lr": rate * choice.rate_factor})
    return groups


@torch.no_grad()
def active_share(loss: nn.Module, miner: Any, vectors: torch.Tensor, labels: torch.Tensor) -> float | None:
    """Share of a batch's triplets (of a triplet loss) or pairs (of any other) that still give loss, through the miner.

    Of all that the batch holds; with batch-hard mining and single pairs of those that they pick, as they always pick as
    many. A loss that is never exactly zero is judged by its pull: see ACTIVE. None for a loss of class vectors, which
    has no pairs.
    """
    mined = miner(vectors, labels) if miner is not None else None
    offered = mined if isinstance(miner, miners.BatchHardMiner | SinglePairs) else None
    if isinstance(loss, losses.TripletMarginLoss):
        return _share(_active_triplets(loss, vectors, labels, mined), len(_triplets(offered, labels)[0]))
    if isinstance(loss, GenericPairLoss):
        first, genuine, second, impostor = loss_and_miner_utils.convert_to_pairs(offered, labels)
        held = torch.zeros((len(vectors), len(vectors)), dtype=torch.bool, device=vectors.device)
        held[first, genuine] = held[second, impostor] = True
        return _share(_active_pairs(loss, vectors, labels, mined), int(held.sum()))
    return None


def _active_triplets(loss: losses.TripletMarginLoss, vectors: torch.Tensor, labels: torch.Tensor, mined: Any) -> int:
    anchor, genuine, impostor = _triplets(mined, labels)
    matrix = loss.distance(vectors)
    violation = loss.distance.margin(matrix[anchor, genuine], matrix[anchor, impostor]) + loss.margin
    return int((violation > 0).sum())


def _active_pairs(loss: GenericPairLoss, vectors: torch.Tensor, labels: torch.Tensor, mined: Any) -> int:
    """Pairs that pull, by the derivative of the summed loss after each cell of the matrix of distances."""
    pairs = loss_and_miner_utils.convert_to_pairs(mined, labels)
    matrix = loss.distance(vectors)
    pull = _pull(loss, matrix, pairs)
    collapsed = _pull(loss, torch.full_like(matrix, 1.0 if loss.distance.is_inverted else 0.0), pairs)
    return int(((pull > 0) & (pull >= ACTIVE * collapsed)).sum())


def _pull(loss: GenericPairLoss, matrix: torch.Tensor, pairs: Any) -> torch.Tensor:
    with torch.enable_grad():
        matrix = matrix.detach().requires_grad_()
        parts = [part["losses"] for part in loss.loss_method(matrix, pairs).values()]
        total = sum(part.sum() for part in parts if isinstance(part, torch.Tensor))
        if not isinstance(total, torch.Tensor):
            return torch.zeros_like(matrix)  # the miner found nothing
        return torch.autograd.grad(total, matrix)[0].abs()


def _triplets(chosen: Any, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    anchor, genuine, impostor = loss_and_miner_utils.convert_to_triplets(chosen, labels, t_per_anchor="all")
    return anchor, genuine, impostor


def _share(active: int, held: int) -> float:
    return active / held if held else 0.0


def _make_distance(choice: recipe.Loss) -> Any:
    """The distance of a loss. Euclidean distance takes vectors as they are: what scales them stands in the encoder."""
    if distance_of(choice) == "euclidean":
        return distances.LpDistance(normalize_embeddings=False, p=2, power=1)
    return distances.CosineSimilarity()
