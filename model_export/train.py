"""`train RECIPE`: one network, shared weights, both inputs through it, pulled and pushed by a metric-learning loss.

Writes a run folder: recipe.toml, checkpoint.safetensors (the latest weights), progress.csv, progress.png and run.json.
"""

from __future__ import annotations

import csv
import ctypes
import json
import math
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress, TextColumn
from safetensors.torch import save_file

from app.core import modalities
from app.core.modalities.base import Limits
from model_export.augment import distort, turn_identities
from model_export.datasets import LabelledItems
from model_export.datasets.omniglot import read_drawings
from model_export.encoders.convolutional import ConvolutionalEncoder
from model_export.errors import CommandError
from model_export.losses import make_loss, make_miner
from model_export.oneshot import accuracy_within_groups
from model_export.recipe import Recipe, data_folder, read_recipe
from model_export.sampling import endless_batches, seed_everything

CHECK_EVERY = 250
"""Steps between two checkpoints, each with a look at the validation groups."""


def make_encoder(recipe: Recipe) -> ConvolutionalEncoder:
    """The untrained encoder of a recipe, for the shape that its modality prepares."""
    params = recipe.modality.params
    return ConvolutionalEncoder(
        size=params["width"],
        channels=1 if params["mode"] == "L" else 3,
        filters=recipe.encoder.filters,
        blocks=recipe.encoder.blocks,
        dimension=recipe.encoder.dimension,
    )


def train(recipe_path: Path, run: Path) -> None:
    """Follow a recipe and write `run`. Raises CommandError for a recipe, data or loss with which it cannot go on."""
    recipe = read_recipe(recipe_path)
    items = read_drawings(data_folder(recipe), "background")
    held_out = np.isin(np.array(items.group_names)[items.group], recipe.data.validation_groups)
    validation = items.select(held_out)
    run.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe_path, run / "recipe.toml")
    _keep_freed_memory()
    trainer = _Trainer.begin(recipe, items.select(~held_out))
    validation_pixels = _prepare(recipe, validation)
    started = time.monotonic()
    with _shown() as progress, (run / "progress.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "seconds", "loss", "validation_accuracy", "items_per_second"])
        task = progress.add_task(recipe.name, total=recipe.schedule.steps, note="")
        for step in range(1, recipe.schedule.steps + 1):
            trainer.step()
            progress.advance(task)
            if step % CHECK_EVERY and step != recipe.schedule.steps:
                continue
            seconds = time.monotonic() - started
            accuracy = accuracy_within_groups(_embed(trainer.encoder, validation_pixels), validation)
            loss, rate = trainer.mean_loss(), trainer.items_seen / seconds
            table.writerow([step, f"{seconds:.1f}", f"{loss:.4f}", f"{accuracy:.4f}", f"{rate:.0f}"])
            file.flush()
            _save(trainer.encoder, run)
            note = f"loss {loss:.3f}  validation {accuracy:.1%}  {rate:.0f} items/s"
            progress.update(task, note=note)
            if not sys.stderr.isatty():
                print(f"step {step} of {recipe.schedule.steps}  {note}", file=sys.stderr, flush=True)
    facts = {
        "recipe": f"{recipe.name}.toml",
        "data": recipe.data.licence,
        "seed": recipe.seed,
        "library_versions": {name: version(name) for name in ("torch", "pytorch-metric-learning", "numpy", "pillow")},
        "duration_seconds": round(time.monotonic() - started),
    }
    (run / "run.json").write_text(json.dumps(facts, indent=1) + "\n")


@dataclass
class _Trainer:
    """The state of one training: the encoder, what moves it, and what it has seen."""

    recipe: Recipe
    encoder: ConvolutionalEncoder
    pixels: npt.NDArray[np.uint8]
    labels: torch.Tensor
    batches: Iterator[npt.NDArray[np.int64]]
    generator: np.random.Generator
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    loss_function: Any
    miner: Any
    items_seen: int = 0
    losses: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, recipe: Recipe, items: LabelledItems) -> _Trainer:
        pixels = _prepare(recipe, items)
        generator = seed_everything(recipe.seed)
        encoder = make_encoder(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        chosen = recipe.optimiser
        optimiser = torch.optim.AdamW(encoder.parameters(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
        return cls(
            recipe=recipe,
            encoder=encoder,
            pixels=pixels,
            labels=torch.from_numpy(items.identity),
            batches=endless_batches(items, recipe.sampler, generator),
            generator=generator,
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(recipe, step)),
            loss_function=make_loss(recipe.loss),
            miner=make_miner(recipe.miner),
        )

    def step(self) -> None:
        """Draw a batch, distort it, and move the weights once."""
        chosen = next(self.batches)
        ink, labels = self.encoder.scale(torch.from_numpy(self.pixels[chosen])), self.labels[chosen]
        if self.generator.random() < self.recipe.augmentation.quarter_turn_share:
            ink, labels = turn_identities(ink, labels)
        ink = distort(ink, self.recipe.augmentation).contiguous(memory_format=torch.channels_last)
        vectors = self.encoder.embed_ink(ink)
        loss = self.loss_function(vectors, labels, self.miner(vectors, labels) if self.miner else None)
        if not math.isfinite(loss.item()):
            raise CommandError(f"the loss is {loss.item()}: lower optimiser.learning_rate; the last checkpoint is kept")
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        self.losses.append(loss.item())
        self.items_seen += len(chosen)

    def mean_loss(self) -> float:
        """The mean loss since this was last asked."""
        mean = float(np.mean(self.losses))
        self.losses.clear()
        return mean


def _rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine to zero, as a factor of the learning rate."""
    warmup, steps = recipe.schedule.warmup_steps, recipe.schedule.steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _shown() -> Progress:
    return Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), disable=not sys.stderr.isatty())


def _save(encoder: ConvolutionalEncoder, run: Path) -> None:
    """Write the weights beside the last checkpoint, then replace it, so that a kill leaves a whole one."""
    weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    fresh = run / "checkpoint.safetensors.part"
    save_file(weights, fresh)
    fresh.replace(run / "checkpoint.safetensors")


def _prepare(recipe: Recipe, items: LabelledItems) -> npt.NDArray[np.uint8]:
    """All items through the code that serves: uint8 (items, height, width, channels)."""
    modality = modalities.create(recipe.modality.name, recipe.modality.params, {})
    return np.stack([modality.prepare(item, Limits()).windows[0]["pixels"] for item in items.items])


def _embed(encoder: ConvolutionalEncoder, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Embed for the progress figure only; every reported figure comes from the exported graph."""
    encoder.eval()
    with torch.inference_mode():
        parts = np.array_split(pixels, len(pixels) // 500 + 1)
        vectors = torch.cat([encoder(torch.from_numpy(part)) for part in parts]).numpy()
    encoder.train()
    return np.asarray(vectors, np.float32)


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed memory. Activations of many megabytes, mapped anew each step, cost half of the time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation of its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: hand nothing back
