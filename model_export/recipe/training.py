"""The `[optimiser]` and `[schedule]` sections of a recipe: how the weights move, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from model_export.recipe.data import Section


class Optimiser(Section):
    """What moves the weights."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0, ge=0)


class Schedule(Section):
    """How long, and how the learning rate goes."""

    name: Literal["cosine"] = "cosine"
    steps: int = Field(ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    check_every: int = Field(default=250, ge=1, description="steps from one look at the validation items to the next")
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights are exported: the last, or those of the best validation figure"
    )
