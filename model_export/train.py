"""`train RECIPE`: one network, shared weights, both inputs through it, pulled and pushed by a metric-learning loss.

Writes a run folder: recipe.toml, tokenizer.json for text, checkpoint.safetensors (the weights), progress.csv and
run.json.
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
from sklearn.metrics import roc_auc_score

from app.core import modalities
from app.core.modalities.base import Modality
from app.core.scoring import similarity_matrix
from model_export.augment.choosing import augment, identities_each
from model_export.datasets import LabelledItems
from model_export.encoders import TwinEncoder
from model_export.encoders.choosing import make_encoder
from model_export.errors import CommandError
from model_export.losses import make_loss, make_miner, weights_to_move
from model_export.populations import read_splits
from model_export.recipe import Recipe, name_recipe, read_recipe
from model_export.sampling import class_labels, endless_batches, seed_everything
from model_export.tokenizer import count_tokens, train_tokenizer
from model_export.windows import PreparedItems, embed_items, prepare_items

VALIDATION_ITEMS = 3000
"""Of more validation items a drawn part is looked at: each is compared with each."""
TOKENIZER_FILE = "tokenizer.json"


def make_modality(recipe: Recipe, run: Path) -> Modality:
    """The recipe's modality, with the tokenizer that training left in the run folder."""
    assets = {TOKENIZER_FILE: (run / TOKENIZER_FILE).read_bytes()} if recipe.tokenizer is not None else {}
    return modalities.create(recipe.modality.name, recipe.modality.params, assets)


def make_network(recipe: Recipe, modality: Modality, run: Path) -> TwinEncoder:
    """The untrained encoder of a recipe."""
    vocabulary = count_tokens((run / TOKENIZER_FILE).read_bytes()) if recipe.tokenizer is not None else 0
    return make_encoder(recipe.encoder, modality, vocabulary)


def train(recipe_path: Path, run: Path) -> None:
    """Follow a recipe and write `run`. Raises CommandError for a recipe, data or loss with which it cannot go on."""
    recipe = read_recipe(recipe_path)
    splits = read_splits(recipe, run)
    run.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe_path, run / "recipe.toml")
    if recipe.tokenizer is not None:
        texts = (item["text"] for item in splits.training.items)
        (run / TOKENIZER_FILE).write_bytes(train_tokenizer(texts, recipe.tokenizer))
    _keep_freed_memory()
    modality = make_modality(recipe, run)
    generator = seed_everything(recipe.seed)
    trainer = _Trainer.begin(recipe, splits.training, modality, make_network(recipe, modality, run), generator)
    watch = _Watch.begin(splits.validation, modality, recipe.seed)
    started, best = time.monotonic(), -math.inf
    with _shown() as progress, (run / "progress.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", "seconds", "loss", "validation_auc", "items_per_second"])
        task = progress.add_task(recipe.name, total=recipe.schedule.steps, note="")
        for step in range(1, recipe.schedule.steps + 1):
            trainer.step()
            progress.advance(task)
            if step % recipe.schedule.check_every and step != recipe.schedule.steps:
                continue
            seconds = time.monotonic() - started
            auc = watch.look(trainer.encoder)
            loss, rate = trainer.mean_loss(), trainer.items_seen / seconds
            table.writerow([step, f"{seconds:.1f}", f"{loss:.4f}", f"{auc:.4f}", f"{rate:.0f}"])
            file.flush()
            if recipe.schedule.keep == "last" or auc > best:
                best = auc
                _save(trainer.encoder, run)
            note = f"loss {loss:.3f}  validation AUC {auc:.4f}  {rate:.0f} items/s"
            progress.update(task, note=note)
            if not sys.stderr.isatty():
                print(f"step {step} of {recipe.schedule.steps}  {note}", file=sys.stderr, flush=True)
    facts = {
        "recipe": name_recipe(recipe),
        "data": recipe.data.licence,
        "seed": recipe.seed,
        "library_versions": {name: version(name) for name in _libraries(recipe)},
        "duration_seconds": round(time.monotonic() - started),
    }
    (run / "run.json").write_text(json.dumps(facts, indent=1) + "\n")


def _libraries(recipe: Recipe) -> tuple[str, ...]:
    own = {"image": ("pillow",), "text": ("tokenizers",), "audio": ("soundfile", "soxr"), "series": ("soxr",)}
    return ("torch", "pytorch-metric-learning", "numpy", *own.get(recipe.modality.name, ()))


@dataclass
class _Trainer:
    """The state of one training: the encoder, what moves it, and what it has seen."""

    recipe: Recipe
    encoder: TwinEncoder
    prepared: PreparedItems
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
    def begin(
        cls,
        recipe: Recipe,
        items: LabelledItems,
        modality: Modality,
        encoder: TwinEncoder,
        generator: np.random.Generator,
    ) -> _Trainer:
        prepared = prepare_items(modality, items)
        encoder.count(prepared.windows)
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        chosen = recipe.optimiser
        labels = class_labels(items)
        classes = int(labels.max() + 1) * identities_each(recipe.augmentation)
        loss_function = make_loss(recipe.loss, classes=classes, dimension=recipe.encoder.trained_dimension)
        moved = weights_to_move(encoder, loss_function, recipe.loss, chosen.learning_rate)
        optimiser = torch.optim.AdamW(moved, weight_decay=chosen.weight_decay)
        return cls(
            recipe=recipe,
            encoder=encoder,
            prepared=prepared,
            labels=torch.from_numpy(labels),
            batches=endless_batches(items, recipe.sampler, generator),
            generator=generator,
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(recipe, step)),
            loss_function=loss_function,
            miner=make_miner(recipe.miner, recipe.loss),
        )

    def step(self) -> None:
        """Draw a batch, distort it, and move the weights once."""
        chosen = next(self.batches)
        batch = self.prepared.draw(chosen, self.generator)
        batch, labels = augment(batch, self.labels[chosen], self.recipe.augmentation)
        vectors = self.encoder(*(batch[name] for name in self.encoder.inputs))
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


@dataclass(frozen=True)
class _Watch:
    """Validation items, and whether two of them match: bool (items, items)."""

    prepared: PreparedItems
    same: npt.NDArray[np.bool_]

    @classmethod
    def begin(cls, items: LabelledItems, modality: Modality, seed: int) -> _Watch:
        items = items.select(np.random.default_rng(seed).permutation(len(items)) < VALIDATION_ITEMS)
        return cls(prepare_items(modality, items), items.identity[:, np.newaxis] == items.identity)

    def look(self, encoder: TwinEncoder) -> float:
        """Area under the ROC curve of all pairs."""
        vectors = embed_items(encoder, self.prepared)
        upper = np.triu_indices(len(vectors), k=1)
        return float(roc_auc_score(self.same[upper], similarity_matrix(vectors, vectors, "cosine")[upper]))


def _rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine to zero, as a factor of the learning rate."""
    warmup, steps = recipe.schedule.warmup_steps, recipe.schedule.steps
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _shown() -> Progress:
    return Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), disable=not sys.stderr.isatty())


def _save(encoder: TwinEncoder, run: Path) -> None:
    """Write the weights beside the last checkpoint, then replace it, so that a kill leaves a whole one."""
    weights = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    fresh = run / "checkpoint.safetensors.part"
    save_file(weights, fresh)
    fresh.replace(run / "checkpoint.safetensors")


def _keep_freed_memory() -> None:
    """Ask glibc to keep freed memory. Activations of many megabytes, mapped anew each step, cost half of the time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no allocation of its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: hand nothing back
