"""The `[loss]`, `[miner]` and `[sampler]` sections of a recipe: what is in a batch, and what it teaches."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.data import Section


class Loss(Section):
    """What pulls and pushes; see model_export/losses.py."""

    name: Literal["supervised_contrastive", "triplet", "contrastive", "multi_similarity"]
    temperature: float = Field(default=0.1, gt=0, description="supervised_contrastive only")
    margin: float = Field(default=0.2, gt=0, description="triplet and contrastive only, in cosine similarity")


class Miner(Section):
    """Which pairs or triplets of a batch count."""

    name: Literal["none", "semi_hard", "batch_hard", "multi_similarity"] = "none"
    margin: float = Field(default=0.2, gt=0, description="semi_hard only, in cosine similarity")


class Sampler(Section):
    """What is in a batch; see model_export/sampling.py."""

    classes: int = Field(ge=2, description="identities in a batch")
    per_class: int = Field(ge=2, description="items of each identity in a batch")
    grouped_share: float = Field(
        ge=0, le=1, description="share of batches drawn from few groups, so that negatives are hard"
    )
    groups: int = Field(default=2, ge=1, description="groups in such a batch; divides `classes`")

    @model_validator(mode="after")
    def _shares_out(self) -> Self:
        if self.grouped_share and self.classes % self.groups:
            raise ValueError("groups must divide classes")
        return self
