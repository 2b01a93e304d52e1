"""Heads that are learnt: a linear map, and a small network beside one, by the losses and batches of any training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from model_export.adapting.choosing import Validation
from model_export.adapting.frozen import Frozen
from model_export.adapting.heads import Head, Hidden
from model_export.losses import make_loss
from model_export.recipe import ContrastiveChoice, Loss, Sampler, SupervisedContrastiveChoice
from model_export.sampling import class_labels, endless_batches, seed_everything

STEPS, LOOK_EVERY, PATIENCE = 600, 25, 6
"""Validation is looked at every so many steps; the best look counts, and so many looks without a better one end it."""
RATE = 1e-4
"""At ten times as much, the first look was the best one on signatures, intents and groceries alike."""
WIDTH = 256
"""Units of the network's hidden layer."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a head is learnt from and watched on."""

    training: Frozen
    sampler: Sampler
    validation: Validation
    seed: int


class _Module(nn.Module):
    """A head whose matrix, and hidden layer where it has one, torch can move."""

    def __init__(self, start: Head, *, hidden: bool) -> None:
        super().__init__()
        self._start = start
        self.mean = nn.Buffer(torch.from_numpy(start.mean))
        self.matrix = nn.Parameter(torch.from_numpy(start.matrix.copy()))
        self.inner = nn.Linear(len(start.mean), WIDTH) if hidden else None
        # Zeros, so that it begins as the linear map beside it.
        self.outer = nn.Parameter(torch.zeros(WIDTH, start.dimension)) if hidden else None

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        centred = rows - self.mean
        out = centred @ self.matrix
        if self.inner is not None and self.outer is not None:
            out = out + torch.relu(self.inner(centred)) @ self.outer
        return nn.functional.normalize(out, dim=1) if self._start.normalise else out

    def head(self, name: str, said: str) -> Head:
        """The head as it is now."""
        hidden = None
        if self.inner is not None and self.outer is not None:
            hidden = Hidden(_numbers(self.inner.weight).T, _numbers(self.inner.bias), _numbers(self.outer))
        return Head(name, said, self._start.mean, _numbers(self.matrix), self._start.normalise, hidden)


def learn(start: Head, lesson: Lesson, *, hidden: bool) -> tuple[Head, float]:
    """The best head on validation that training from `start` passed through, and its area under the ROC curve there.

    `start` itself is not among them: it stands in the table on its own.
    """
    generator = seed_everything(lesson.seed)
    training = lesson.training
    labels = torch.from_numpy(class_labels(training.items))
    module = _Module(start, hidden=hidden)
    loss = make_loss(_loss(start, training), classes=int(labels.max()) + 1, dimension=start.dimension)
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    kind = "network" if hidden else "linear"
    batches = endless_batches(training.items, lesson.sampler, generator)
    best: tuple[Head, float] | None = None
    waited = 0
    for step, places in _count(batches):
        rows = torch.from_numpy(training.draw(places, generator))
        optimiser.zero_grad()
        loss(module(rows), labels[places]).backward()
        optimiser.step()
        schedule.step()
        if step % LOOK_EVERY:
            continue
        said = f"{_KINDS[kind]}, begun from {start.said}, {step} steps"
        head = module.head(kind, said)
        area = lesson.validation.look(head)
        if best is None or area > best[1]:
            best, waited = (head, area), 0
        elif (waited := waited + 1) == PATIENCE:
            break
    assert best is not None  # STEPS holds a look
    return best


_KINDS = {"linear": "a linear map", "network": f"a linear map and a network of {WIDTH} hidden units"}


def _count(batches: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    return zip(range(1, STEPS + 1), batches, strict=False)


def _loss(start: Head, training: Frozen) -> Loss:
    """By cosine for unit vectors; for others by distance, impostors pushed as far as items lie apart on average."""
    if start.normalise:
        return SupervisedContrastiveChoice(name="supervised_contrastive")
    rows = start.apply(training.rows)
    apart = float(np.sqrt(2 * rows.var(axis=0).sum()))
    return ContrastiveChoice(name="contrastive", distance="euclidean", margin=apart)


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), np.float32)
