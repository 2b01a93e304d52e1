"""Losses and miners by recipe name. All are pytorch-metric-learning's, on cosine similarity of unit vectors."""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning import distances, losses, miners

from model_export import recipe


def make_loss(choice: recipe.Loss) -> Any:
    """The loss a recipe names; call it with (embeddings, labels, mined)."""
    cosine = distances.CosineSimilarity()
    if choice.name == "supervised_contrastive":
        return losses.SupConLoss(temperature=choice.temperature, distance=cosine)
    if choice.name == "triplet":
        return losses.TripletMarginLoss(margin=choice.margin, distance=cosine)
    if choice.name == "contrastive":
        # With a similarity the margins flip: positives are pulled above pos_margin, negatives pushed below neg_margin.
        return losses.ContrastiveLoss(pos_margin=1.0, neg_margin=1.0 - choice.margin, distance=cosine)
    return losses.MultiSimilarityLoss(distance=cosine)


def make_miner(choice: recipe.Miner) -> Any:
    """The miner a recipe names, or None; call it with (embeddings, labels)."""
    cosine = distances.CosineSimilarity()
    if choice.name == "semi_hard":
        return miners.TripletMarginMiner(margin=choice.margin, distance=cosine, type_of_triplets="semihard")
    if choice.name == "batch_hard":
        return miners.BatchHardMiner(distance=cosine)
    if choice.name == "multi_similarity":
        return miners.MultiSimilarityMiner(distance=cosine)
    return None
