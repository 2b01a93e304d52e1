"""The `[loss]`, `[miner]` and `[sampler]` sections of a recipe: what is in a batch, and what it teaches.

One class a loss or miner, so that a parameter which does not apply is refused by its name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.data import Section

Distance = Literal["cosine", "euclidean"]


class MarginLoss(Section):
    """What the losses share that stop at a margin, whose meaning flips with the distance; see model_export/losses.py.

    On cosine similarity the margin counts downwards from the similarity of what matches, on distance upwards.
    """

    distance: Distance = Field(
        default="cosine", description="what is compared: cosine similarity, or the distance of the vectors as they are"
    )
    margin: float = Field(default=0.2, gt=0, description="in cosine similarity (at most 2), or in units of distance")

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.distance == "cosine" and self.margin > 2:
            raise ValueError("no two cosines are more than 2 apart: margin is at most 2")
        return self


class ContrastiveChoice(MarginLoss):
    """Genuine pairs are pulled together, impostors pushed to the margin (Hadsell et al. 2006, without the squares)."""

    name: Literal["contrastive"]


class TripletChoice(MarginLoss):
    """The impostor must be further than the genuine item by the margin (Schroff et al. 2015)."""

    name: Literal["triplet"]


class SupervisedContrastiveChoice(Section):
    """Each item must find all of its own among the batch (Khosla et al. 2020)."""

    name: Literal["supervised_contrastive"]
    temperature: float = Field(default=0.1, gt=0, description="cosines are divided by it: lower minds the nearest more")


class NtXentChoice(Section):
    """Each genuine pair by itself against the impostors of its first item (Chen et al. 2020)."""

    name: Literal["nt_xent"]
    temperature: float = Field(
        default=0.07, gt=0, description="cosines are divided by it: lower minds the nearest more"
    )


class MultiSimilarityChoice(Section):
    """Pairs weighed by how hard they are beside the others of the batch (Wang et al. 2019)."""

    name: Literal["multi_similarity"]
    alpha: float = Field(default=2.0, gt=0, description="weight of the hardest among genuine pairs")
    beta: float = Field(default=50.0, gt=0, description="weight of the hardest among impostors")
    base: float = Field(default=0.5, ge=-1, le=1, description="cosine that parts genuine pairs from impostors")


class CircleChoice(Section):
    """Each pair is pushed as far as it still has to go (Sun et al. 2020)."""

    name: Literal["circle"]
    margin: float = Field(
        default=0.4, gt=0, lt=1, description="genuine cosines rise above 1 - margin, impostors' fall below margin"
    )
    scale: float = Field(default=80.0, gt=0, description="gamma of the paper: what cosines are multiplied by")


class ClassVectorLoss(Section):
    """What the losses share that learn a vector for each training identity and compare items with those."""

    rate_factor: float = Field(
        default=10.0, gt=0, description="how many times the encoder's learning rate moves the class vectors"
    )


class ProxyAnchorChoice(ClassVectorLoss):
    """Items against one learnt vector an identity, weighed by how hard they are (Kim et al. 2020)."""

    name: Literal["proxy_anchor"]
    margin: float = Field(default=0.1, ge=0, lt=1, description="cosine that is added on both sides")
    alpha: float = Field(default=32.0, gt=0, description="weight of the hardest items of an identity")


class ArcFaceChoice(ClassVectorLoss):
    """Softmax over the training identities with a margin of the angle (Deng et al. 2019)."""

    name: Literal["arcface"]
    margin_degrees: float = Field(default=28.6, gt=0, lt=90, description="added to the angle from an item to its own")
    scale: float = Field(default=64.0, gt=0, description="what cosines are multiplied by")


Loss = Annotated[
    ContrastiveChoice
    | TripletChoice
    | SupervisedContrastiveChoice
    | NtXentChoice
    | MultiSimilarityChoice
    | CircleChoice
    | ProxyAnchorChoice
    | ArcFaceChoice,
    Field(discriminator="name"),
]


class NoMiner(Section):
    """Every pair or triplet of a batch counts."""

    name: Literal["none"] = "none"


class SemiHardMiner(Section):
    """Triplets whose impostor is further than the genuine item, but by less than the margin (Schroff et al. 2015)."""

    name: Literal["semi_hard"]
    margin: float = Field(default=0.2, gt=0, description="in the unit of the loss's distance")


class BatchHardMiner(Section):
    """For each item its furthest genuine item and its nearest impostor of the batch (Hermans et al. 2017)."""

    name: Literal["batch_hard"]


class MultiSimilarityMiner(Section):
    """Pairs that are harder than the easiest of the other kind, or nearly (Wang et al. 2019)."""

    name: Literal["multi_similarity"]
    epsilon: float = Field(default=0.1, gt=0, description="how nearly, in the unit of the loss's distance")


class SinglePairsMiner(Section):
    """Each item in one pair only, half of them genuine, as a twin has them that embeds both sides of every pair.

    To measure what that costs; for the contrastive loss. See model_export/single_pairs.py.
    """

    name: Literal["single_pairs"]


Miner = Annotated[
    NoMiner | SemiHardMiner | BatchHardMiner | MultiSimilarityMiner | SinglePairsMiner, Field(discriminator="name")
]


class Sampler(Section):
    """What is in a batch; see model_export/sampling.py."""

    classes: int = Field(ge=2, description="identities in a batch")
    per_class: int = Field(ge=2, description="items of each identity in a batch")
    grouped_share: float = Field(
        ge=0, le=1, description="share of batches drawn from few groups, so that negatives are hard"
    )
    groups: int = Field(default=2, ge=1, description="groups in such a batch; divides `classes`")
    remined_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of batches drawn among identities that the encoder confuses, found anew each round",
    )
    neighbours: int = Field(
        default=4,
        ge=1,
        description="nearest other identities that come into such a batch with each one drawn; below `classes`",
    )

    @model_validator(mode="after")
    def _shares_out(self) -> Self:
        if self.grouped_share and self.classes % self.groups:
            raise ValueError("groups must divide classes")
        if self.grouped_share + self.remined_share > 1:
            raise ValueError("grouped_share and remined_share are shares of one whole")
        if self.remined_share and self.neighbours >= self.classes:
            raise ValueError("neighbours must be fewer than classes")
        if not self.remined_share and "neighbours" in self.model_fields_set:
            raise ValueError("neighbours counts only beside remined_share")
        return self


def distance_of(loss: Loss) -> Distance:
    """What a loss compares by: cosine similarity, but for a loss that says otherwise."""
    return loss.distance if isinstance(loss, MarginLoss) else "cosine"
