"""`train RECIPE`: one network, shared weights, both inputs through it, pulled and pushed by a metric-learning loss.

Writes a run folder: recipe.toml, checkpoint.safetensors (the latest weights), progress.csv and run.json.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors.torch import save_file

from app.core import modalities
from app.core.modalities.base import Limits
from model_export.augment import distort, turn_identities
from model_export.datasets import LabelledItems
from model_export.datasets.omniglot import read_drawings
from model_export.encoders.convolutional import ConvolutionalEncoder
from model_export.losses import make_loss, make_miner
from model_export.recipe import Recipe, RecipeError, data_folder, read_recipe
from model_export.sampling import endless_batches, seed_everything

CHECK_EVERY = 250


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
    """Follow a recipe and write `run`. Raises RecipeError for a recipe or data that cannot be followed."""
    recipe = read_recipe(recipe_path)
    run.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe_path, run / "recipe.toml")
    items = read_drawings(data_folder(recipe), "background")
    held_out = np.isin(np.array(items.group_names)[items.group], recipe.data.validation_groups)
    training, validation = items.select(~held_out), items.select(held_out)
    pixels, validation_pixels = _prepare(recipe, training), _prepare(recipe, validation)

    generator = seed_everything(recipe.seed)
    encoder = make_encoder(recipe).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        encoder.parameters(), lr=recipe.optimiser.learning_rate, weight_decay=recipe.optimiser.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(recipe, step))
    loss_function, miner = make_loss(recipe.loss), make_miner(recipe.miner)
    batches = endless_batches(training, recipe.sampler, generator)
    labels = torch.from_numpy(training.identity)
    started = time.monotonic()
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns) as progress, (run / "progress.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "seconds", "loss", "validation_accuracy", "items_per_second"])
        task = progress.add_task("training", total=recipe.schedule.steps, note="")
        losses: list[float] = []
        for step in range(1, recipe.schedule.steps + 1):
            chosen = next(batches)
            ink = (255.0 - torch.from_numpy(pixels[chosen]).permute(0, 3, 1, 2).float()) / 255.0
            batch_labels = labels[chosen]
            if generator.random() < recipe.augmentation.quarter_turn_share:
                ink, batch_labels = turn_identities(ink, batch_labels)
            ink = distort(ink, recipe.augmentation).contiguous(memory_format=torch.channels_last)
            vectors = encoder.embed_ink(ink)
            mined = miner(vectors, batch_labels) if miner else None
            loss = loss_function(vectors, batch_labels, mined)
            if not math.isfinite(loss.item()):
                raise RecipeError(f"the loss is {loss.item()} at step {step}: lower optimiser.learning_rate")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            progress.advance(task)
            if step % CHECK_EVERY == 0 or step == recipe.schedule.steps:
                seconds = time.monotonic() - started
                accuracy = one_shot_accuracy(_embed(encoder, validation_pixels), validation)
                mean_loss, rate = float(np.mean(losses)), step * len(chosen) / seconds
                losses.clear()
                table.writerow([step, f"{seconds:.1f}", f"{mean_loss:.4f}", f"{accuracy:.4f}", f"{rate:.0f}"])
                file.flush()
                weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
                save_file(weights, run / "checkpoint.safetensors")
                note = f"loss {mean_loss:.3f}  validation {accuracy:.1%}  {rate:.0f} items/s"
                progress.update(task, note=note)
    facts = {
        "recipe": f"{recipe.name}.toml",
        "data": recipe.data.licence,
        "seed": recipe.seed,
        "library_versions": {name: version(name) for name in ("torch", "pytorch-metric-learning", "numpy", "pillow")},
        "duration_s": round(time.monotonic() - started),
    }
    (run / "run.json").write_text(json.dumps(facts, indent=1) + "\n")


def _rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine to zero, as a factor of the learning rate."""
    if step < recipe.schedule.warmup_steps:
        return (step + 1) / recipe.schedule.warmup_steps
    span = max(1, recipe.schedule.steps - recipe.schedule.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.schedule.warmup_steps) / span))


def _prepare(recipe: Recipe, items: LabelledItems) -> npt.NDArray[np.uint8]:
    """All items through the code that serves: uint8 (items, height, width, channels)."""
    modality = modalities.create(recipe.modality.name, recipe.modality.params, {})
    return np.stack([modality.prepare(item, Limits()).windows[0]["pixels"] for item in items.items])


def _embed(encoder: ConvolutionalEncoder, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    encoder.eval()
    with torch.inference_mode():
        vectors = torch.cat([encoder(torch.from_numpy(part)) for part in np.array_split(pixels, len(pixels) // 500 + 1)])
    encoder.train()
    return vectors.numpy()


def one_shot_accuracy(vectors: npt.NDArray[np.float32], items: LabelledItems) -> float:
    """Mean 20-way one-shot accuracy inside groups, drawer 1 deciding among the characters of drawer 2; ties are wrong."""
    right: list[bool] = []
    for group in np.unique(items.group):
        for probe_source, reference_source in ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
            probes = np.flatnonzero((items.group == group) & (items.source == probe_source))
            references = np.flatnonzero((items.group == group) & (items.source == reference_source))
            scores = vectors[probes] @ vectors[references].T
            same = items.identity[probes][:, None] == items.identity[references][None, :]
            best_other = np.where(same, -np.inf, scores).max(axis=1)
            right.extend(np.where(same, scores, -np.inf).max(axis=1) > best_other)
    return float(np.mean(right))
