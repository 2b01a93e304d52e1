"""Recipes: the one file that says how an encoder is made. TOML, checked field by field before any work starts.

Long, because it is the whole list of what a recipe may say; its `[data]` is in recipe_data.py.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from app.core.bundle import canonical_json
from app.core.bundle.manifest import sha256_hex
from model_export.errors import CommandError
from model_export.recipe_data import DataChoice, Section


def _check_odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd, so that it has a middle")
    return number


OddNumber = Annotated[int, Field(ge=1), AfterValidator(_check_odd)]


class Relation(Section):
    """What a match means in words."""

    match_means: str = Field(description="what two matching items have in common, as in 'drawn as the same character'")
    not_: str = Field(alias="not", description="what a match does not mean, as in 'by the same hand'")


class ModalityChoice(Section):
    """How items are prepared; the params are checked by the modality itself."""

    name: str
    params: dict[str, Any]


class Tokenizer(Section):
    """The tokenizer of a text encoder, learnt from the training texts; see model_export/tokenizer.py."""

    vocabulary: int = Field(ge=100, le=200_000, description="most tokens, those for padding and the unknown counted")
    lowercase: bool = Field(default=True, description="upper and lower case, and accents, are not told apart")


class ConvolutionalChoice(Section):
    """Pictures; see model_export/encoders/convolutional.py."""

    name: Literal["convolutional"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=6, description="convolution blocks, each halving the resolution")
    dimension: int = Field(ge=2, le=4096, description="length of an embedding")


class SequenceChoice(Section):
    """What all encoders of sequences share; see model_export/encoders/fronts.py."""

    every: int = Field(default=1, ge=1, description="steps averaged into one before anything else; not for text")
    level: OddNumber | Literal[0] = Field(
        default=0, description="averaged steps around each whose mean is taken off; 0: none; not for text"
    )
    width: int = Field(default=128, ge=1, description="length of a token's embedding; text only")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of values hidden in training")
    dimension: int = Field(ge=2, le=4096, description="length of an embedding")


class Convolutional1dChoice(SequenceChoice):
    """Sequences; see model_export/encoders/convolutional_1d.py."""

    name: Literal["convolutional_1d"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=8, description="convolution blocks, each halving the steps")
    kernel: OddNumber = Field(description="steps that a convolution sees")


class RecurrentChoice(SequenceChoice):
    """Sequences; see model_export/encoders/recurrent.py."""

    name: Literal["gru"]
    hidden: int = Field(ge=1, description="values that the unit remembers")
    layers: int = Field(default=1, ge=1, le=4, description="units stacked")


class BagChoice(SequenceChoice):
    """Text, or sequences whose order does not count; see model_export/encoders/bag.py."""

    name: Literal["bag"]
    hidden: int = Field(ge=1, description="width of the hidden layer after the mean")
    lexical_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the score that the rarity of shared tokens decides; text only"
    )
    lexical_dimension: int = Field(default=0, ge=0, description="of `dimension`, what that part takes; 0 without it")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if (self.lexical_share > 0) != (self.lexical_dimension > 0):
            raise ValueError("lexical_share and lexical_dimension are given together")
        if self.lexical_dimension >= self.dimension:
            raise ValueError("lexical_dimension must leave some of dimension")
        return self


EncoderChoice = Annotated[
    ConvolutionalChoice | Convolutional1dChoice | RecurrentChoice | BagChoice, Field(discriminator="name")
]


class Loss(Section):
    """What pulls and pushes; see model_export/losses.py."""

    name: Literal["supervised_contrastive", "triplet", "contrastive", "multi_similarity"]
    temperature: float = Field(default=0.1, gt=0, description="supervised_contrastive only")
    margin: float = Field(default=0.2, gt=0, description="triplet and contrastive only, in cosine similarity")


class Miner(Section):
    """Which pairs or triplets of a batch count."""

    name: Literal["none", "semi_hard", "batch_hard", "multi_similarity"] = "none"
    margin: float = Field(default=0.2, gt=0, description="semi_hard only, in cosine similarity")


class Sampler(Section):
    """What is in a batch; see model_export/sampling.py."""

    classes: int = Field(ge=2, description="identities in a batch")
    per_class: int = Field(ge=2, description="items of each identity in a batch")
    grouped_share: float = Field(
        ge=0, le=1, description="share of batches drawn from few groups, so that negatives are hard"
    )
    groups: int = Field(default=2, ge=1, description="groups in such a batch; divides `classes`")

    @model_validator(mode="after")
    def _shares_out(self) -> Self:
        if self.grouped_share and self.classes % self.groups:
            raise ValueError("groups must divide classes")
        return self


class NoAugmentation(Section):
    """Items as they are."""

    kind: Literal["none"] = "none"


class PictureAugmentation(Section):
    """Random distortion of training pictures; see model_export/augment/pictures.py."""

    kind: Literal["picture"]

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


class SequenceAugmentation(Section):
    """Random distortion of measured steps; see model_export/augment/sequences.py."""

    kind: Literal["sequence"]
    stretch: float = Field(default=0, ge=0, lt=1, description="time runs uniformly in 1 +- as fast, a draw a batch")
    warp: float = Field(default=0, ge=0, lt=1, description="bands move uniformly in 1 +-, a draw a batch; audio only")
    gain: float = Field(default=0, ge=0, description="natural logarithm of the factor, or what is added to logarithms")
    noise: float = Field(default=0, ge=0, description="standard deviation of what is added to each value")
    hide_steps: float = Field(default=0, ge=0, lt=1, description="largest share of steps hidden in one stretch")
    hide_bands: float = Field(default=0, ge=0, lt=1, description="largest share of channels hidden in one stretch")


class TextAugmentation(Section):
    """Tokens left out at random; see model_export/augment/texts.py."""

    kind: Literal["text"]
    hide_tokens: float = Field(ge=0, lt=1, description="chance of each token to be left out; one always stays")


AugmentationChoice = Annotated[
    NoAugmentation | PictureAugmentation | SequenceAugmentation | TextAugmentation, Field(discriminator="kind")
]


class Optimiser(Section):
    """What moves the weights."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0, ge=0)


class Schedule(Section):
    """How long, and how the learning rate goes."""

    name: Literal["cosine"] = "cosine"
    steps: int = Field(ge=1)
    warmup_steps: int = Field(default=0, ge=0)
    check_every: int = Field(default=250, ge=1, description="steps from one look at the validation items to the next")
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights are exported: the last, or those of the best validation figure"
    )


class Calibration(Section):
    """What was measured, in the words that a verdict will use."""

    population: str = Field(description="what was measured, in words")
    unit: str = Field(description="the independent source that is counted, as in 'character'")
    random: str = Field(description="what a random impostor is, in words")
    hard: str | None = Field(
        default=None, description="what a hard impostor is, in words: another identity of the same group; none if unset"
    )
    same_source: str | None = Field(
        default=None, description="name of the genuine pairs of one source, such as 'same_day', tabled apart"
    )
    other_source: str | None = Field(default=None, description="name of those of two sources, such as 'other_day'")
    folds: int = Field(default=9, ge=3, description="folds by unit of a cross-fitted verification")
    draws: int = Field(default=2000, ge=1000, description="bootstrap draws")
    valid_for_days: int = Field(default=730, ge=1)


class Recipe(Section):
    """A whole recipe file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    seed: int = 0
    weights_licence: str
    intended_use: str
    relation: Relation
    data: DataChoice
    modality: ModalityChoice
    tokenizer: Tokenizer | None = None
    encoder: EncoderChoice
    loss: Loss
    miner: Miner = Miner()
    sampler: Sampler
    augmentation: AugmentationChoice = NoAugmentation()
    optimiser: Optimiser
    schedule: Schedule
    calibration: Calibration

    @model_validator(mode="after")
    def _every_option_counts(self) -> Self:
        for fault in _idle_options(self):
            raise ValueError(fault)
        return self


def _idle_options(recipe: Recipe) -> Iterator[str]:
    """What is set and would not be used: a recipe says nothing that does not count."""
    kind, encoder, augmentation = recipe.modality.name, recipe.encoder, recipe.augmentation
    fits = {"picture": ("image",), "text": ("text",), "sequence": ("audio", "series"), "none": (kind,)}
    if kind not in fits[augmentation.kind]:
        yield f"augmentation.kind: {augmentation.kind} is not for the modality {kind}"
    if (recipe.tokenizer is not None) != (kind == "text"):
        yield "tokenizer: belongs to the modality text, and must be given there"
    if isinstance(encoder, SequenceChoice):
        for name in ("every", "level") if kind == "text" else ("width",):
            if name in encoder.model_fields_set:
                yield f"encoder.{name}: is not for the modality {kind}"
    if isinstance(augmentation, SequenceAugmentation) and kind == "series":
        if augmentation.warp:
            yield "augmentation.warp: is for audio, whose channels are bands"
        if augmentation.hide_bands and len(recipe.modality.params.get("channels", ())) < 2:
            yield "augmentation.hide_bands: hides nothing of one channel"
    own = {"temperature": ("supervised_contrastive",), "margin": ("triplet", "contrastive")}
    for name, losses in own.items():
        if name in recipe.loss.model_fields_set and recipe.loss.name not in losses:
            yield f"loss.{name}: is not for {recipe.loss.name}"
    if "margin" in recipe.miner.model_fields_set and recipe.miner.name != "semi_hard":
        yield f"miner.margin: is not for {recipe.miner.name}"


def name_recipe(recipe: Recipe) -> str:
    """What a bundle keeps of the recipe that trained it: the file's name and a digest of what was cut and prepared.

    A recipe of the same name that cuts the data otherwise would measure people who trained.
    """
    parts = {"data": recipe.data, "modality": recipe.modality, "tokenizer": recipe.tokenizer}
    content = {name: part and part.model_dump(mode="json") for name, part in parts.items()}
    return f"{recipe.name}.toml#{sha256_hex(canonical_json(content))[:16]}"


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
        place = ".".join(str(part) for part in first["loc"] if "(" not in str(part) and "[" not in str(part))
        said = first["msg"].removeprefix("Value error, ")
        raise CommandError(f"{path}: {place}{': ' if place else ''}{said}") from error


def data_folder(recipe: Recipe) -> Path:
    """The folder of the recipe's data below TWINSERVE_DATA. Raises CommandError where either is missing."""
    root = os.environ.get("TWINSERVE_DATA")
    if not root:
        raise CommandError("set TWINSERVE_DATA to the folder that holds the data sets")
    folder = Path(root) / recipe.data.folder
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; the recipe's data.folder is looked for below TWINSERVE_DATA")
    return folder
