"""The run folder: the names of its files, and files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from app.core import modalities
from app.core.modalities.base import Modality
from model_export.encoders import TwinEncoder
from model_export.encoders.choosing import make_encoder
from model_export.errors import CommandError
from model_export.graphs import one_line
from model_export.recipe import ModalityChoice, Recipe
from model_export.tokenizer import count_tokens

RECIPE_FILE = "recipe.toml"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "checkpoint.safetensors"
"""The weights that are exported."""
STATE_FILE = "state.safetensors"
"""What a training goes on from."""
FACTS_FILE = "run.json"
START_FILE = "start.json"
"""What is said of the weights that it began with, where they were not drawn."""
START_WEIGHTS_FILE = "start.safetensors"
"""Those of the earlier run that it began with."""
DIRECTORY = "directory"
"""A copy of the directory of sentence-transformers that it began with."""
BUDGET_FILE = "budget.json"
PROGRESS_FILE = "progress.csv"
PLOT_FILE = "progress.png"
EVENTS_FOLDER = "events"
FILES = (
    RECIPE_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    STATE_FILE,
    FACTS_FILE,
    START_FILE,
    START_WEIGHTS_FILE,
    BUDGET_FILE,
    PROGRESS_FILE,
    PLOT_FILE,
)


@dataclass(frozen=True)
class Begun:
    """What a run began with: `origin` in words, its whole modality, and the `[data]` of all runs that came before."""

    origin: str
    modality: ModalityChoice
    trained_on: Sequence[dict[str, Any]] = ()


def write_begun(begun: Begun, run: Path) -> None:
    """Keep it in the run folder."""
    said = {"origin": begun.origin, "modality": begun.modality.model_dump(), "trained_on": list(begun.trained_on)}
    write_whole(run / START_FILE, (json.dumps(said, indent=1) + "\n").encode())


def read_begun(run: Path) -> Begun | None:
    """What write_begun wrote; None for a run that began with weights drawn at random. Raises CommandError."""
    path = run / START_FILE
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text("utf-8"))
        return Begun(said["origin"], ModalityChoice.model_validate(said["modality"]), said["trained_on"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path}: damaged; --fresh trains anew") from error


def read_facts(run: Path) -> dict[str, Any]:
    """The facts of a training for its bundle. Raises CommandError where there are none, or they are damaged."""
    try:
        facts: dict[str, Any] = json.loads((run / FACTS_FILE).read_text("utf-8"))
    except FileNotFoundError as error:
        raise CommandError(f"{run}: has no {FACTS_FILE}; train writes it") from error
    except ValueError as error:
        raise CommandError(f"{run}: its {FACTS_FILE} is damaged: {one_line(error)}") from error
    return facts


def load_weights(encoder: TwinEncoder, path: Path) -> None:
    """Give an encoder the weights of a file. Raises CommandError where it is missing, damaged or of another encoder."""
    try:
        encoder.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise CommandError(f"{path.parent}: has no {path.name}; train writes it") from error
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise CommandError(f"{path.parent}: its {path.name} is not of its recipe: {one_line(error)}") from error


def choose_modality(recipe: Recipe, run: Path) -> ModalityChoice:
    """The recipe's modality, with the params that came with the weights where it leaves them to these."""
    begun = read_begun(run)
    return recipe.modality if begun is None else begun.modality


def read_assets(recipe: Recipe, run: Path) -> dict[str, bytes]:
    """The files that go with the modality: the tokenizer of texts, which training left in the run folder."""
    return {TOKENIZER_FILE: (run / TOKENIZER_FILE).read_bytes()} if recipe.modality.name == "text" else {}


def make_modality(recipe: Recipe, run: Path) -> Modality:
    """The recipe's modality, with what the run folder holds of it."""
    choice = choose_modality(recipe, run)
    return modalities.create(choice.name, choice.params, read_assets(recipe, run))


def make_network(recipe: Recipe, modality: Modality, run: Path) -> TwinEncoder:
    """The encoder of a recipe before its first step. Raises CommandError for first weights that do not fit it."""
    tokenizer = read_assets(recipe, run).get(TOKENIZER_FILE)
    vocabulary = 0 if tokenizer is None else count_tokens(tokenizer)
    encoder = make_encoder(recipe.encoder, modality, vocabulary, run / DIRECTORY)
    if (weights := run / START_WEIGHTS_FILE).exists():
        load_weights(encoder, weights)
    return encoder


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the file, then replace it, so that a kill or a full disk leaves the old one whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_run(run: Path, *, keep: tuple[str, ...] = ()) -> None:
    """Remove the files of a training from its folder, and nothing else that lies there."""
    for name in FILES:
        if name not in keep:
            (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / DIRECTORY, ignore_errors=True)
    for events in (run / EVENTS_FOLDER).glob("events.out.tfevents.*"):
        events.unlink()
    with contextlib.suppress(OSError):  # someone else's file lies there, or the folder never was
        (run / EVENTS_FOLDER).rmdir()
