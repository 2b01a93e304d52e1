"""One step of a training, and the state that it moves: encoder, optimiser, moving average, the loss's own weights."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from model_export.augment.choosing import augment, identities_each
from model_export.datasets import LabelledItems
from model_export.encoders import TwinEncoder
from model_export.errors import CommandError
from model_export.losses import active_share, make_loss, make_miner, weights_to_move
from model_export.recipe import Recipe
from model_export.sampling import class_labels, endless_batches, seed_everything
from model_export.training.checkpoints import (
    Tensors,
    name_tensors,
    optimiser_tensors,
    restore_optimiser,
    select_tensors,
)
from model_export.training.devices import autocast
from model_export.training.optimisers import blend_weights, make_average, make_optimiser, rate_factor, set_rate
from model_export.windows import PreparedItems, embed_items

SHARE_EVERY = 10
"""Steps from one count of active pairs to the next: counting asks the miner again."""


@dataclass
class Tally:
    """What the steps since the last tally gave: their losses, some of their active shares, and how many items."""

    losses: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    items: int = 0

    def loss(self) -> float:
        """The mean loss."""
        return float(np.mean(self.losses))

    def share(self) -> float | None:
        """The mean share of active pairs or triplets; None where the loss has none."""
        return float(np.mean(self.shares)) if self.shares else None


@dataclass
class Trainer:
    """The state of one training, and what it learns from."""

    recipe: Recipe
    device: torch.device
    items: LabelledItems
    prepared: PreparedItems
    labels: torch.Tensor
    encoder: TwinEncoder
    start: Tensors | None
    average: AveragedModel | None
    loss_function: nn.Module
    miner: Any
    optimiser: torch.optim.Optimizer
    tally: Tally = field(default_factory=Tally)
    last: tuple[torch.Tensor, torch.Tensor] | None = None
    _batches: Iterator[npt.NDArray[np.int64]] = field(default_factory=lambda: iter(()))
    _generator: np.random.Generator = field(default_factory=np.random.default_rng)

    @classmethod
    def begin(
        cls,
        recipe: Recipe,
        items: LabelledItems,
        prepared: PreparedItems,
        encoder: TwinEncoder,
        device: torch.device,
    ) -> Trainer:
        """A training of an encoder before its first step, all of it on `device` but the items."""
        if recipe.encoder.from_ is None:  # an earlier run has counted
            encoder.count(prepared.windows)
        encoder = encoder.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        labels = class_labels(items)
        classes = int(labels.max() + 1) * identities_each(recipe.augmentation)
        loss = make_loss(recipe.loss, classes=classes, dimension=recipe.encoder.trained_dimension).to(device)
        groups = weights_to_move(encoder, loss, recipe.loss, recipe.optimiser.learning_rate)
        return cls(
            recipe=recipe,
            device=device,
            items=items,
            prepared=prepared,
            labels=torch.from_numpy(labels),
            encoder=encoder,
            start=copy.deepcopy(encoder.state_dict()) if recipe.encoder.from_share else None,
            average=make_average(encoder, recipe.schedule.ema) if recipe.schedule.ema else None,
            loss_function=loss,
            miner=make_miner(recipe.miner, recipe.loss),
            optimiser=make_optimiser(recipe.optimiser, groups),
        )

    @property
    def exported(self) -> TwinEncoder:
        """What is watched and exported: the encoder or its moving average, with their share of its first weights."""
        moved = self.encoder if self.average is None else cast(TwinEncoder, self.average.module)
        return moved if self.start is None else blend_weights(moved, self.start, self.recipe.encoder.from_share)

    def start_round(self, number: int) -> None:
        """Seed every generator from the recipe's seed and the round's number, and make the sampler anew.

        A sampler that mines anew embeds all training items with the weights as they are.
        """
        seed = np.random.SeedSequence([self.recipe.seed, number]).generate_state(1)[0]
        self._generator = seed_everything(int(seed))
        self._batches = endless_batches(
            self.items, self.recipe.sampler, self._generator, lambda: embed_items(self.encoder, self.prepared)
        )
        self.tally = Tally()

    def step(self, number: int, steps: int) -> None:
        """Draw a batch, distort it, and move the weights once; `number` is 0 for the first of `steps`.

        Raises CommandError for a loss that is not finite; the weights are then those before the step.
        """
        chosen = next(self._batches)
        batch, labels = augment(
            self.prepared.draw(chosen, self._generator), self.labels[chosen], self.recipe.augmentation
        )
        labels = labels.to(self.device)
        with autocast(self.recipe.compute, self.device):
            vectors = self.encoder(*(batch[name].to(self.device) for name in self.encoder.inputs))
        vectors = vectors.float()
        loss = self.loss_function(vectors, labels, self.miner(vectors, labels) if self.miner else None)
        value = loss.item()
        if not math.isfinite(value):
            raise CommandError(
                f"the loss of step {number + 1} is {value}: lower optimiser.learning_rate, or set optimiser.clip_norm"
            )
        self.optimiser.zero_grad()
        loss.backward()
        if self.recipe.optimiser.clip_norm is not None:
            moved = [weight for group in self.optimiser.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(moved, self.recipe.optimiser.clip_norm)
        set_rate(self.optimiser, rate_factor(self.recipe.schedule, number, steps))
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.encoder)
        self._count(value, vectors.detach(), labels)

    def _count(self, loss: float, vectors: torch.Tensor, labels: torch.Tensor) -> None:
        if len(self.tally.losses) % SHARE_EVERY == 0:
            share = active_share(self.loss_function, self.miner, vectors, labels)
            self.tally.shares += [] if share is None else [share]
        self.tally.losses.append(loss)
        self.tally.items += len(labels)
        self.last = (vectors, labels)

    @torch.no_grad()
    def constant_loss(self) -> float:
        """The loss of an encoder that gives every item of the last batch their mean, nothing mined."""
        if self.last is None:
            raise ValueError("no step was taken")
        vectors, labels = self.last
        mean = vectors.mean(dim=0, keepdim=True)
        same = mean / mean.norm().clamp_min(1e-6) * vectors.norm(dim=1).mean()
        return float(self.loss_function(same.expand_as(vectors).contiguous(), labels, None).item())

    def learning_rate(self) -> float:
        """Of the encoder's weights, in the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def tensors(self) -> Tensors:
        """All that the next round depends on."""
        average = {} if self.average is None else self.average.state_dict()
        return {
            **name_tensors("encoder", self.encoder.state_dict()),
            **name_tensors("average", average),
            **name_tensors("loss", self.loss_function.state_dict()),
            **name_tensors("optimiser", optimiser_tensors(self.optimiser)),
        }

    def restore(self, tensors: Tensors) -> None:
        """Take what `tensors` gave. Raises RuntimeError for those of another encoder."""
        self.encoder.load_state_dict(select_tensors("encoder", tensors))
        if self.average is not None:
            self.average.load_state_dict(select_tensors("average", tensors))
        self.loss_function.load_state_dict(select_tensors("loss", tensors))
        restore_optimiser(self.optimiser, select_tensors("optimiser", tensors))


def digest_items(items: LabelledItems, prepared: PreparedItems) -> str:
    """A digest of the training items as they are learnt from, by which a run knows its data again."""
    digest = hashlib.sha256()
    for array in (items.identity, items.group, prepared.start):
        digest.update(np.ascontiguousarray(array).data)
    for window in prepared.windows:
        for name in sorted(window):
            digest.update(np.ascontiguousarray(window[name]).data)
    return digest.hexdigest()
