"""The run folder: the names of its files, and files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from app.core import modalities
from app.core.modalities.base import Modality
from model_export.encoders import TwinEncoder
from model_export.encoders.choosing import make_encoder
from model_export.recipe import Recipe
from model_export.tokenizer import list_tokens

RECIPE_FILE = "recipe.toml"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "checkpoint.safetensors"
"""The weights that are exported."""
STATE_FILE = "state.safetensors"
"""What a training goes on from."""
FACTS_FILE = "run.json"
BUDGET_FILE = "budget.json"
PROGRESS_FILE = "progress.csv"
PLOT_FILE = "progress.png"
EVENTS_FOLDER = "events"
FILES = (RECIPE_FILE, TOKENIZER_FILE, WEIGHTS_FILE, STATE_FILE, FACTS_FILE, BUDGET_FILE, PROGRESS_FILE, PLOT_FILE)


def make_modality(recipe: Recipe, run: Path) -> Modality:
    """The recipe's modality, with the tokenizer that training left in the run folder."""
    assets = {TOKENIZER_FILE: (run / TOKENIZER_FILE).read_bytes()} if recipe.tokenizer is not None else {}
    return modalities.create(recipe.modality.name, recipe.modality.params, assets)


def make_network(recipe: Recipe, modality: Modality, run: Path) -> TwinEncoder:
    """The untrained encoder of a recipe."""
    tokens = list_tokens((run / TOKENIZER_FILE).read_bytes()) if recipe.tokenizer is not None else []
    return make_encoder(recipe.encoder, modality, tokens)


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
    for events in (run / EVENTS_FOLDER).glob("events.out.tfevents.*"):
        events.unlink()
    with contextlib.suppress(OSError):  # someone else's file lies there, or the folder never was
        (run / EVENTS_FOLDER).rmdir()
