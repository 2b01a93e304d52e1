"""Recipes: the one file that says how an encoder is made. TOML, checked field by field before any work starts."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_export.errors import CommandError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Relation(_Section):
    """What a match means in words."""

    match_means: str = Field(description="what two matching items have in common, as in 'drawn as the same character'")
    not_: str = Field(alias="not", description="what a match does not mean, as in 'by the same hand'")


class Data(_Section):
    """Which items, and under which licence."""

    reader: Literal["omniglot"] = Field(description="which reader in model_export/datasets understands the folder")
    folder: str = Field(description="folder below TWINSERVE_DATA")
    validation_groups: tuple[str, ...] = Field(
        default=(), description="training groups kept aside to watch progress; never calibration or test groups"
    )
    licence: str = Field(description="licence and attribution of the data")


class ModalityChoice(_Section):
    """How items are prepared; the params are checked by the modality itself."""

    name: str
    params: dict[str, Any]


class Encoder(_Section):
    """The architecture; see model_export/encoders."""

    name: Literal["convolutional"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=6, description="convolution blocks, each halving the resolution")
    dimension: int = Field(ge=2, le=4096, description="length of an embedding")


class Loss(_Section):
    """What pulls and pushes; see model_export/losses.py."""

    name: Literal["supervised_contrastive", "triplet", "contrastive", "multi_similarity"]
    temperature: float = Field(default=0.1, gt=0, description="supervised_contrastive only")
    margin: float = Field(default=0.2, gt=0, description="triplet and contrastive only, in cosine similarity")


class Miner(_Section):
    """Which pairs or triplets of a batch count."""

    name: Literal["none", "semi_hard", "batch_hard", "multi_similarity"] = "none"


class Sampler(_Section):
    """What is in a batch; see model_export/sampling.py."""

    classes: int = Field(ge=2, description="identities in a batch")
    per_class: int = Field(ge=2, description="items of each identity in a batch")
    grouped_share: float = Field(
        ge=0, le=1, description="share of batches drawn from few groups, so that negatives are hard"
    )
    groups: int = Field(default=2, ge=1, description="groups in such a batch")


class Augmentation(_Section):
    """Random distortion of training pictures; see model_export/augment.py."""

    rotation_degrees: float = Field(default=0, ge=0, description="uniform in +-")
    shear_degrees: float = Field(default=0, ge=0, description="uniform in +-, each axis")
    scale: float = Field(default=0, ge=0, lt=1, description="uniform in 1 +-, each axis")
    shift: float = Field(default=0, ge=0, lt=1, description="uniform in +-, as a share of the side")
    quarter_turn_share: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of batches whose identities are turned by quarter turns, as new identities",
    )


class Optimiser(_Section):
    """What moves the weights."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0, ge=0)


class Schedule(_Section):
    """How long, and how the learning rate goes."""

    name: Literal["cosine"] = "cosine"
    steps: int = Field(ge=1)
    warmup_steps: int = Field(default=0, ge=0)


class Calibration(_Section):
    """What was measured, in the words that a verdict will use."""

    population: str = Field(description="what was measured, in words")
    unit: str = Field(description="the independent source that is counted, as in 'character'")
    random: str = Field(description="what a random impostor is, in words")
    hard: str = Field(description="what a hard impostor is, in words")
    draws: int = Field(default=2000, ge=1000, description="bootstrap draws")
    valid_for_days: int = Field(default=730, ge=1)


class Recipe(_Section):
    """A whole recipe file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    seed: int = 0
    weights_licence: str
    intended_use: str
    relation: Relation
    data: Data
    modality: ModalityChoice
    encoder: Encoder
    loss: Loss
    miner: Miner = Miner()
    sampler: Sampler
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser
    schedule: Schedule
    calibration: Calibration


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises CommandError with one line that names the file and the field."""
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def data_folder(recipe: Recipe) -> Path:
    """The folder of the recipe's data below TWINSERVE_DATA. Raises CommandError where either is missing."""
    root = os.environ.get("TWINSERVE_DATA")
    if not root:
        raise CommandError("set TWINSERVE_DATA to the folder that holds the data sets")
    folder = Path(root) / recipe.data.folder
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; the recipe's data.folder is looked for below TWINSERVE_DATA")
    return folder
