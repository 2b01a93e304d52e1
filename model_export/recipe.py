"""Recipes: the one file that says how an encoder is made. TOML, checked field by field before any work starts."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_export.errors import CommandError


def _check_odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd, so that it has a middle")
    return number


OddNumber = Annotated[int, Field(ge=1), AfterValidator(_check_odd)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Relation(_Section):
    """What a match means in words."""

    match_means: str = Field(description="what two matching items have in common, as in 'drawn as the same character'")
    not_: str = Field(alias="not", description="what a match does not mean, as in 'by the same hand'")


class OmniglotData(_Section):
    """Drawings of characters; see model_export/datasets/omniglot.py."""

    reader: Literal["omniglot"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    validation_groups: tuple[str, ...] = Field(
        default=(), description="training groups kept aside to watch progress; never calibration or test groups"
    )
    licence: str = Field(description="licence and attribution of the data")


class IntentsData(_Section):
    """Short questions by intent, from Banking77 and CLINC150; see model_export/datasets/intents.py."""

    reader: Literal["intents"]
    folder: str = Field(description="folder below TWINSERVE_DATA that holds both sets' folders; '.' is itself")
    shares: tuple[float, float, float] = Field(
        description="shares of each domain's intents that calibrate, test and validate; the others train"
    )
    per_intent: int = Field(ge=2, description="questions of each intent that are measured, drawn")
    seed: int = Field(default=0, description="of the cut and the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class FsddData(_Section):
    """Spoken digits; see model_export/datasets/fsdd.py."""

    reader: Literal["fsdd"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    training_speakers: tuple[str, ...] = Field(min_length=2)
    held_out_speakers: tuple[str, ...] = Field(min_length=1, description="measuring impostors takes two at least")
    licence: str = Field(description="licence and attribution of the data")


class EcgIdData(_Section):
    """Electrocardiograms of people on one or several days; see model_export/datasets/ecg_id.py."""

    reader: Literal["ecg_id"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="people who are measured, drawn")
    held_out_several_days: int = Field(ge=0, description="of these, people recorded on several days")
    validation: int = Field(ge=2, description="of the people left, those who only watch the training")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class KeystrokesData(_Section):
    """People typing one word; see model_export/datasets/keystrokes.py."""

    reader: Literal["keystrokes"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="people who are measured, drawn")
    validation: int = Field(ge=2, description="of the people left, those who only watch the training")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class GaitData(_Section):
    """People walking with a phone; see model_export/datasets/gait.py."""

    reader: Literal["gait"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    steps: Literal[2, 5] = Field(description="which of the set's files: about so many steps a series")
    held_out: int = Field(ge=2, description="people who are measured, drawn")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class HarData(_Section):
    """Windows of activities; see model_export/datasets/har.py."""

    reader: Literal["har"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: tuple[Literal["walking", "upstairs", "downstairs", "sitting", "standing", "laying"], ...] = Field(
        min_length=2, description="activities that are measured"
    )
    licence: str = Field(description="licence and attribution of the data")


class UcrData(_Section):
    """Sets of the UCR and UEA archives; see model_export/datasets/ucr.py."""

    reader: Literal["ucr"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    sets: tuple[str, ...] = Field(min_length=1, description="names of the sets, all of as many channels")
    held_out: float = Field(ge=0, lt=1, description="share of each set's classes that are measured; 0: official parts")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


DataChoice = Annotated[
    OmniglotData | IntentsData | FsddData | EcgIdData | KeystrokesData | GaitData | HarData | UcrData,
    Field(discriminator="reader"),
]


class ModalityChoice(_Section):
    """How items are prepared; the params are checked by the modality itself."""

    name: str
    params: dict[str, Any]


class Tokenizer(_Section):
    """The tokenizer of a text encoder, learnt from the training texts; see model_export/tokenizer.py."""

    vocabulary: int = Field(ge=100, le=200_000, description="most tokens, those for padding and the unknown counted")
    lowercase: bool = Field(default=True, description="upper and lower case, and accents, are not told apart")


class ConvolutionalChoice(_Section):
    """Pictures; see model_export/encoders/convolutional.py."""

    name: Literal["convolutional"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=6, description="convolution blocks, each halving the resolution")
    dimension: int = Field(ge=2, le=4096, description="length of an embedding")


class SequenceChoice(_Section):
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
    groups: int = Field(default=2, ge=1, description="groups in such a batch; divides `classes`")

    @model_validator(mode="after")
    def _shares_out(self) -> Self:
        if self.grouped_share and self.classes % self.groups:
            raise ValueError("groups must divide classes")
        return self


class NoAugmentation(_Section):
    """Items as they are."""

    kind: Literal["none"] = "none"


class PictureAugmentation(_Section):
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


class SequenceAugmentation(_Section):
    """Random distortion of measured steps; see model_export/augment/sequences.py."""

    kind: Literal["sequence"]
    stretch: float = Field(default=0, ge=0, lt=1, description="time runs uniformly in 1 +- as fast, a draw a batch")
    warp: float = Field(default=0, ge=0, lt=1, description="bands move uniformly in 1 +-, a draw a batch; audio only")
    gain: float = Field(default=0, ge=0, description="natural logarithm of the factor, or what is added to logarithms")
    noise: float = Field(default=0, ge=0, description="standard deviation of what is added to each value")
    hide_steps: float = Field(default=0, ge=0, lt=1, description="largest share of steps hidden in one stretch")
    hide_bands: float = Field(default=0, ge=0, lt=1, description="largest share of channels hidden in one stretch")


class TextAugmentation(_Section):
    """Tokens left out at random; see model_export/augment/texts.py."""

    kind: Literal["text"]
    hide_tokens: float = Field(ge=0, lt=1, description="chance of each token to be left out; one always stays")


AugmentationChoice = Annotated[
    NoAugmentation | PictureAugmentation | SequenceAugmentation | TextAugmentation, Field(discriminator="kind")
]


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
    check_every: int = Field(default=250, ge=1, description="steps from one look at the validation items to the next")
    keep: Literal["last", "best"] = Field(
        default="last", description="which weights are exported: the last, or those of the best validation figure"
    )


class Calibration(_Section):
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


class Recipe(_Section):
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
