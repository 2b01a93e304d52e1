"""What a training begins with where weights are not drawn: those of an earlier run, or of a directory.

All of it is copied into the run folder, so that the run goes on, and is exported, whatever becomes of its source.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_export.errors import CommandError, needing
from model_export.recipe import MARKS, ModalityChoice, Recipe, SentenceTransformersChoice, name_recipe, read_recipe
from model_export.training.run_folder import (
    DIRECTORY,
    RECIPE_FILE,
    START_WEIGHTS_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Begun,
    choose_modality,
    read_assets,
    read_begun,
    read_facts,
    write_begun,
    write_whole,
)

TRAINING_ONLY = {"from_", "from_share", "dropout", "jitter", "frozen_layers"}
"""Fields of an encoder that may be others than the earlier run's: they count in training only."""
NO_CUT = {*MARKS, "licence", "duplicates", "near_duplicates", "impostors"}
"""Fields of `[data]` that may be others while the cut is the same."""

SOURCE = ("reader", "folder", "table")
"""Those that say which data it is."""


@dataclass(frozen=True)
class Start:
    """What is copied, and what is said of it: weights of a `run`, a `directory` of sentence-transformers, or both."""

    run: Path | None
    directory: Path | None
    tokenizer: bytes | None
    begun: Begun


def find_start(recipe: Recipe, run: Path) -> Start | None:
    """What a recipe's `encoder.from` names; None where it names nothing. `run` is the folder that will be written.

    Raises CommandError where there is nothing of the kind, or it does not fit the recipe.
    """
    if recipe.encoder.from_ is None:
        return None
    folder = recipe.beside / recipe.encoder.from_
    if not folder.is_dir():
        raise CommandError(f"encoder.from: {folder}: no such folder; it is looked for beside the recipe file")
    if run.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise CommandError(f"encoder.from: {folder} lies in the run folder, which is written anew: give another --out")
    if (folder / RECIPE_FILE).is_file():
        return _begin_with_run(recipe, folder)
    if isinstance(recipe.encoder, SentenceTransformersChoice):
        return _begin_with_directory(recipe, recipe.encoder, folder)
    raise CommandError(
        f"encoder.from: {folder} holds no {RECIPE_FILE}, so it is no run folder; a directory of sentence-transformers "
        "is trained on with encoder.name = sentence_transformers"
    )


def write_start(start: Start, run: Path) -> None:
    """Copy it into the run folder."""
    if start.directory is not None:
        with needing("import"):
            from model_export.importing.sentence_directories import copy_directory  # noqa: PLC0415

        copy_directory(start.directory, run / DIRECTORY)
    if start.run is not None:
        shutil.copyfile(start.run / WEIGHTS_FILE, run / START_WEIGHTS_FILE)
    if start.tokenizer is not None:
        write_whole(run / TOKENIZER_FILE, start.tokenizer)
    write_begun(start.begun, run)


def _begin_with_directory(recipe: Recipe, choice: SentenceTransformersChoice, folder: Path) -> Start:
    with needing("import"):
        from model_export.encoders.sentences import read_directory  # noqa: PLC0415

    said = read_directory(folder, choice, recipe.modality.params)
    modality = ModalityChoice(name=recipe.modality.name, params=said.params)
    return Start(None, folder, said.tokenizer, Begun(said.origin, modality))


def _begin_with_run(recipe: Recipe, folder: Path) -> Start:
    earlier = read_recipe(folder / RECIPE_FILE)
    if not (folder / WEIGHTS_FILE).is_file():
        raise CommandError(f"encoder.from: {folder} holds no {WEIGHTS_FILE}")
    ours, theirs = (one.encoder.model_dump(exclude=TRAINING_ONLY) for one in (recipe, earlier))
    _check_same("encoder", ours, theirs, folder)
    begun = read_begun(folder)
    origin = f"the run {name_recipe(earlier)}, trained on {read_facts(folder)['data']}"
    trained_on = [*(begun.trained_on if begun else ()), earlier.data.model_dump(mode="json", exclude=NO_CUT)]
    _check_cut(recipe, trained_on, folder)
    if isinstance(recipe.encoder, SentenceTransformersChoice):
        held = _begin_with_directory(recipe, recipe.encoder, folder / DIRECTORY)
        return Start(folder, held.directory, held.tokenizer, Begun(origin, held.begun.modality, trained_on))
    modality = choose_modality(earlier, folder)
    _check_same("modality", recipe.modality.model_dump(), modality.model_dump(), folder)
    tokenizer = read_assets(earlier, folder).get(TOKENIZER_FILE)
    return Start(folder, None, tokenizer, Begun(origin, modality, trained_on))


def _check_same(section: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], folder: Path) -> None:
    """Raise CommandError, naming the first field that is another than in the run that the weights come from."""
    for name in ("name", *ours, *theirs):
        own, other = ours.get(name), theirs.get(name)
        if isinstance(own, dict) and isinstance(other, dict):
            _check_same(f"{section}.{name}", own, other, folder)
        elif own != other:
            raise CommandError(
                f"{section}.{name}: {own!r} here, and {other!r} in {folder}, where the weights come from"
            )


def _check_cut(recipe: Recipe, trained_on: list[dict[str, Any]], folder: Path) -> None:
    """What is measured must not have trained the first weights either.

    Raises CommandError for another cut of the same data; of other data only a person can tell, and is told.
    """
    own = recipe.data.model_dump(mode="json", exclude=NO_CUT)
    others = [data for data in trained_on if data != own]
    if any(all(data.get(name) == own.get(name) for name in SOURCE) for data in others):
        raise CommandError(
            f"encoder.from: {folder} was trained on another cut of the same data, so that what is measured here may "
            "have trained it: give [data] as its recipe does"
        )
    if others:
        print(
            f"note: {folder} was trained on other data; see that nothing of it is among what this recipe measures",
            file=sys.stderr,
        )
