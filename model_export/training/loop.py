"""`train RECIPE`: rounds of steps, a look at the validation items after each, and a run folder that is then whole.

The folder holds recipe.toml, tokenizer.json for text, checkpoint.safetensors (the weights that are exported), run.json
(their facts), state.safetensors (what the next round starts from), progress.csv, progress.png, TensorBoard's events/,
budget.json where the recipe gives minutes, and start.json with what it names where weights are not drawn.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch

from model_export.datasets import LabelledItems, Splits
from model_export.errors import CommandError
from model_export.populations import read_splits
from model_export.recipe import Recipe, name_recipe, read_recipe
from model_export.recipe.sampling import distance_of
from model_export.sampling import check_batches, seed_everything
from model_export.tokenizer import train_tokenizer
from model_export.training.budget import count_steps
from model_export.training.checkpoints import Mark, read_mark, read_tensors, write_state, write_weights
from model_export.training.collapse import LOOKS, Signs, find_collapse
from model_export.training.devices import choose_device, held_threads, keep_freed_memory
from model_export.training.interrupts import Interrupts, listening
from model_export.training.material import check_network, check_training_items
from model_export.training.progress import Row, Shown, draw_progress
from model_export.training.run_folder import (
    BUDGET_FILE,
    FACTS_FILE,
    RECIPE_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    make_modality,
    make_network,
    read_begun,
    remove_run,
    write_whole,
)
from model_export.training.start import Start, find_start, write_start
from model_export.training.trainer import Trainer, digest_items
from model_export.training.watch import Watch
from model_export.windows import prepare_items

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def train(recipe_path: Path, run: Path, *, fresh: bool = False, splits: Splits | None = None) -> None:
    """Follow a recipe and write `run`; a run of the same recipe that did not end there goes on, unless `fresh`.

    splits: the recipe's data, where the caller has read it.
    Raises CommandError for a recipe, data or loss with which it cannot go on, and for a folder that holds another run;
    KeyboardInterrupt, saying how to go on, after Ctrl-C or SIGTERM.
    """
    recipe = read_recipe(recipe_path)
    device = choose_device(recipe.compute)
    check_network(recipe, recipe_path)
    mark = None if fresh else _find_run(run, recipe)
    start = find_start(recipe, run) if mark is None else None
    with _told(run), listening() as interrupts, held_threads(recipe.compute.threads):
        run.mkdir(parents=True, exist_ok=True)
        splits = splits or read_splits(recipe, run)
        if splits.frozen:
            raise CommandError(
                f"{recipe_path}: data.frozen is true, so that all of the data is measured and none trains"
            )
        check_training_items(splits.training)
        check_batches(splits.training, recipe.sampler)
        if mark is None:
            _begin_folder(recipe_path, recipe, run, splits.training, start)
        keep_freed_memory()
        session = _begin_session(recipe, run, mark, splits, device=device, interrupts=interrupts)
        session.follow()


def is_finished(recipe_path: Path, run: Path) -> bool:
    """Whether a folder holds a run that followed this recipe to its end. Raises CommandError for any other run."""
    mark = read_mark(run) if _holds_run(run, read_recipe(recipe_path)) else None
    return mark is not None and mark.step == mark.steps


def _find_run(run: Path, recipe: Recipe) -> Mark | None:
    """How far a run of this recipe has come in a folder. Raises CommandError for any other run, or one at its end."""
    if not _holds_run(run, recipe):
        return None
    mark = read_mark(run)
    if mark is not None and mark.step < mark.steps:
        return mark
    raise CommandError(f"{run}: this recipe was followed to its end here; export it, or --fresh trains anew")


def _holds_run(run: Path, recipe: Recipe) -> bool:
    """Whether a run of this recipe has come to weights in a folder. Raises CommandError for a run of another."""
    if not (run / WEIGHTS_FILE).exists():
        return False  # nothing was learnt there, whatever was tried
    try:
        same = read_recipe(run / RECIPE_FILE).model_dump() == recipe.model_dump()
    except CommandError:
        same = False
    if not same:
        raise CommandError(f"{run}: holds a run of another recipe; give another --out, or --fresh to replace it")
    return True


def _begin_folder(recipe_path: Path, recipe: Recipe, run: Path, items: LabelledItems, start: Start | None) -> None:
    """An empty run: what an earlier one left is removed, but for the budget of the same recipe."""
    held, content = run / RECIPE_FILE, recipe_path.read_bytes()
    same = held.exists() and held.read_bytes() == content
    remove_run(run, keep=(BUDGET_FILE,) if same else ())
    write_whole(held, content)
    if recipe.tokenizer is not None:
        texts = (item["text"] for item in items.items)
        write_whole(run / TOKENIZER_FILE, train_tokenizer(texts, recipe.tokenizer))
    if start is not None:
        write_start(start, run)


def _begin_session(
    recipe: Recipe,
    run: Path,
    mark: Mark | None,
    splits: Splits,
    *,
    device: torch.device,
    interrupts: Interrupts,
) -> _Session:
    """Prepare the items and the trainer, as they were at the mark."""
    training = splits.training
    modality = make_modality(recipe, run)
    watch = Watch.begin(splits.validation, modality, recipe.seed, distance_of(recipe.loss))
    prepared = prepare_items(modality, training)
    data = digest_items(training, prepared)

    def make_trainer() -> Trainer:
        seed_everything(recipe.seed)
        return Trainer.begin(recipe, training, prepared, make_network(recipe, modality, run), device)

    if mark is None:
        steps = count_steps(recipe, run, watch, make_trainer)
        trainer = make_trainer()
        look = watch.look(trainer.exported)
        mark = Mark(0, steps, 0.0, -1.0, look.auc, (), data, torch.get_num_threads())
        print(f"{len(training)} items on {device.type}; validation AUC before training {look.auc:.4f}", file=sys.stderr)
        write_state(run, mark, trainer.tensors())
    else:
        if mark.data != data:
            raise CommandError(f"{run}: its run began on other training items; --fresh trains anew")
        trainer = make_trainer()
        trainer.restore(read_tensors(run))
        print(f"going on from step {mark.step} of {mark.steps}", file=sys.stderr)
        if mark.threads != torch.get_num_threads():
            print(
                f"note: began with {mark.threads} threads and goes on with {torch.get_num_threads()}, so that the last "
                "bits of the weights may differ; compute.threads fixes their number",
                file=sys.stderr,
            )
    return _Session(recipe, run, trainer, watch, mark, interrupts)


@dataclass
class _Session:
    """What one command does of a training, from its mark on."""

    recipe: Recipe
    run: Path
    trainer: Trainer
    watch: Watch
    mark: Mark
    interrupts: Interrupts

    def follow(self) -> None:
        """Round after round. What ends it early says what is kept; the plot is drawn whatever ends it."""
        try:
            with Shown(self.run, self.recipe.name, step=self.mark.step, steps=self.mark.steps) as shown:
                self.interrupts.patient = True
                while self.mark.step < self.mark.steps:
                    self._round(shown)
                self.interrupts.patient = False
        except CommandError as error:
            raise CommandError(f"{error}; {self._kept()}") from error
        finally:
            draw_progress(self.run)

    def _round(self, shown: Shown) -> None:
        first, steps = self.mark.step, self.mark.steps
        check_every = self.recipe.schedule.check_every
        last = min(first + check_every, steps)
        self.trainer.start_round(first // check_every)
        began = time.monotonic()
        for number in range(first, last):
            if self.interrupts.asked:
                self._stop(number, time.monotonic() - began)
            self.trainer.step(number, steps)
            shown.step(self.trainer.tally, time.monotonic() - began)
        stepped = time.monotonic() - began
        look = self.watch.look(self.trainer.exported)
        seconds = self.mark.seconds + time.monotonic() - began
        tally, rate = self.trainer.tally, self.trainer.learning_rate()
        loss = tally.loss()
        shown.round(
            Row(
                step=last,
                seconds=seconds,
                loss=loss,
                active_share=tally.share(),
                validation_auc=look.auc,
                items_per_second=tally.items / stepped,
                learning_rate=rate,
                spread=look.spread,
                effective_rank=look.effective_rank,
            )
        )
        signs = Signs(last, look.auc, look.spread, look.effective_rank, loss, self.trainer.constant_loss())
        looks = (*self.mark.looks, signs)[-LOOKS:]
        fault = find_collapse(self.recipe, looks, self.mark.untrained_auc)
        if fault and self.recipe.schedule.stop_on_collapse:
            raise CommandError(fault)
        better = look.auc > self.mark.best
        if better or self.recipe.schedule.keep == "last":
            self._write_weights(seconds)
        self.mark = replace(self.mark, step=last, seconds=seconds, best=max(look.auc, self.mark.best), looks=looks)
        write_state(self.run, self.mark, self.trainer.tensors())

    def _write_weights(self, seconds: float) -> None:
        """What export takes: the weights, and the facts of their training so far."""
        write_weights(self.run / WEIGHTS_FILE, self.trainer.exported.state_dict())
        begun = read_begun(self.run)
        facts = {
            "recipe": name_recipe(self.recipe),
            "data": self.recipe.data.licence + (f"; begun with the weights of {begun.origin}" if begun else ""),
            "seed": self.recipe.seed,
            "library_versions": {name: version(name) for name in _libraries(self.recipe)},
            "duration_seconds": round(seconds),
        }
        write_whole(self.run / FACTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())

    def _stop(self, step: int, seconds: float) -> None:
        """Answer Ctrl-C before a step. Where no round has ended yet, the weights as they are become the checkpoint."""
        kept = self._kept()
        if step and not self.mark.step:
            self._write_weights(seconds)
            kept = f"{self.run / WEIGHTS_FILE} is of step {step} and can be exported"
        onwards = f"the same command goes on from step {self.mark.step}"
        raise KeyboardInterrupt(f"stopped after step {step} of {self.mark.steps}; {kept}; {onwards}")

    def _kept(self) -> str:
        if not self.mark.step:
            return "no round has ended yet"
        which = "the best up to" if self.recipe.schedule.keep == "best" else "of"
        return f"{self.run / WEIGHTS_FILE} is kept, {which} step {self.mark.step}"


@contextmanager
def _told(run: Path) -> Iterator[None]:
    """Tell of a full disk in one line. What was written before is whole: see write_whole."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise CommandError(
            f"{run}: the disk is full; make room and give the same command again: it goes on from the last round"
        ) from error


def _libraries(recipe: Recipe) -> tuple[str, ...]:
    own = {"image": ("pillow",), "text": ("tokenizers",), "audio": ("soundfile", "soxr"), "series": ("soxr",)}
    further = ("sentence-transformers", "transformers") if recipe.encoder.name == "sentence_transformers" else ()
    return ("torch", "pytorch-metric-learning", "numpy", *own.get(recipe.modality.name, ()), *further)
