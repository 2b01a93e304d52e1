"""The `[optimiser]`, `[schedule]` and `[compute]` sections of a recipe: how weights move, for how long, and on what."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.data import Section


class Optimiser(Section):
    """What moves the weights; see model_export/training/optimisers.py."""

    name: Literal["adamw", "muon", "sgd"] = Field(
        default="adamw",
        description="adamw (Loshchilov and Hutter 2019); muon (Jordan 2024): orthogonalised momentum for convolutions "
        "of pictures, AdamW for all else; or sgd: stochastic gradient with momentum",
    )
    learning_rate: float = Field(gt=0, description="the largest, which the schedule scales")
    weight_decay: float = Field(default=0, ge=0, description="pull of each weight towards 0 a step, times the rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the last move that goes on; sgd only")
    clip_norm: float | None = Field(
        default=None, gt=0, description="longest gradient of all weights together; a longer one is cut; unset: none is"
    )

    @model_validator(mode="after")
    def _momentum_counts(self) -> Self:
        if "momentum" in self.model_fields_set and self.name != "sgd":
            raise ValueError(f"momentum: is not for {self.name}")
        return self


class Schedule(Section):
    """How long, how the learning rate goes, and which weights come out; see model_export/training/."""

    name: Literal["cosine", "constant"] = Field(
        default="cosine", description="after the warm-up the rate falls to 0 as half a cosine, or stays"
    )
    steps: int | None = Field(default=None, ge=1, description="batches to learn from; this or minutes")
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="time to learn in, made into steps by the speed measured at the start and written to budget.json; "
        "preparing the items comes on top",
    )
    warmup_steps: int = Field(default=0, ge=0, description="steps in which the rate rises from 0 in a straight line")
    check_every: int = Field(
        default=250,
        ge=1,
        description="steps a round: then validation items are looked at and a checkpoint is written; "
        "a kill loses at most one round",
    )
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights are exported: the last, or those of the best validation figure"
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="0: off; else the weights watched and exported are a moving average, which keeps this share of "
        "itself each step, less at first",
    )
    stop_on_collapse: bool = Field(
        default=True, description="whether a run stops when its encoder no longer tells items apart"
    )

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give steps or minutes, one of them")
        if self.steps is not None and self.warmup_steps > self.steps:
            raise ValueError("warmup_steps: more than steps")
        return self


class Compute(Section):
    """What the training runs on. No part of what a recipe means: its name's digest is the same on every machine."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where torch has it, else the CPU"
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="bf16: the encoder runs in bfloat16 (autocast), weights and loss stay fp32; on CUDA, or a CPU "
        "with AMX or AVX512-BF16",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="torch's threads on the CPU; fix them for identical weights; unset: torch decides",
    )
