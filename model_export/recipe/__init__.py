"""Recipes: the one file that says how an encoder is made. TOML, checked field by field before any work starts.

The whole is here; one module holds each group of its sections.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from app.core.bundle import canonical_json
from app.core.bundle.manifest import sha256_hex
from model_export.errors import CommandError
from model_export.floors import FITS
from model_export.floors import NONE as NO_FLOOR
from model_export.recipe.augmentation import (
    AugmentationChoice,
    NoAugmentation,
    PhotographAugmentation,
    PictureAugmentation,
    SequenceAugmentation,
    TextAugmentation,
)
from model_export.recipe.data import DataChoice, Section
from model_export.recipe.encoders import (
    BagChoice,
    Convolutional1dChoice,
    ConvolutionalChoice,
    DrawingChoice,
    EncoderChoice,
    PictureChoice,
    RecurrentChoice,
    ResidualChoice,
    SentenceTransformersChoice,
    SequenceChoice,
    SequenceEncoderChoice,
    SpectralChoice,
    TimmChoice,
    TransformerChoice,
)
from model_export.recipe.external import External, ExternalType, check_references
from model_export.recipe.fields import describe_fault
from model_export.recipe.own_data import OwnData, PairsData
from model_export.recipe.sampling import (
    ArcFaceChoice,
    BatchHardMiner,
    CircleChoice,
    ClassVectorLoss,
    ContrastiveChoice,
    Loss,
    Miner,
    MultiSimilarityChoice,
    MultiSimilarityMiner,
    NoMiner,
    NtXentChoice,
    ProxyAnchorChoice,
    Sampler,
    SemiHardMiner,
    SinglePairsMiner,
    SupervisedContrastiveChoice,
    TripletChoice,
    distance_of,
)
from model_export.recipe.training import (
    Compute,
    Optimiser,
    Schedule,
)

__all__ = [
    "ArcFaceChoice",
    "AugmentationChoice",
    "BagChoice",
    "BatchHardMiner",
    "Calibration",
    "CircleChoice",
    "ClassVectorLoss",
    "Compute",
    "ContrastiveChoice",
    "Convolutional1dChoice",
    "ConvolutionalChoice",
    "DrawingChoice",
    "EncoderChoice",
    "External",
    "ExternalType",
    "Loss",
    "Miner",
    "ModalityChoice",
    "MultiSimilarityChoice",
    "MultiSimilarityMiner",
    "NoAugmentation",
    "NoMiner",
    "NtXentChoice",
    "Optimiser",
    "PhotographAugmentation",
    "PictureAugmentation",
    "PictureChoice",
    "ProxyAnchorChoice",
    "Recipe",
    "RecurrentChoice",
    "Relation",
    "ResidualChoice",
    "Sampler",
    "Schedule",
    "SemiHardMiner",
    "SentenceTransformersChoice",
    "SequenceAugmentation",
    "SequenceChoice",
    "SequenceEncoderChoice",
    "SinglePairsMiner",
    "SpectralChoice",
    "SupervisedContrastiveChoice",
    "TextAugmentation",
    "TimmChoice",
    "Tokenizer",
    "TransformerChoice",
    "TripletChoice",
    "data_folder",
    "name_recipe",
    "read_recipe",
    "set_folder",
]


MARKS = {"personal", "redistributable"}
"""What a recipe says of its data that changes neither the cut nor the preparation."""


class Relation(Section):
    """What a match means in words."""

    match_means: str = Field(description="what two matching items have in common, as in 'drawn as the same character'")
    not_: str = Field(alias="not", description="what a match does not mean, as in 'by the same hand'")


class ModalityChoice(Section):
    """How items are prepared; the params are checked by the modality itself."""

    name: str = Field(description="image, text, audio or series")
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="how items are prepared, as the modality's own page says; must be given, but for an encoder of "
        "sentence-transformers: its directory says it, and only long_text and window_overlap may be added",
    )


class Tokenizer(Section):
    """The tokenizer of a text encoder, learnt from the training texts; see model_export/tokenizer.py.

    An encoder that begins with other weights has theirs.
    """

    vocabulary: int = Field(ge=100, le=200_000, description="most tokens, those for padding and the unknown counted")
    lowercase: bool = Field(default=True, description="upper and lower case, and accents, are not told apart")


class Calibration(Section):
    """What was measured, in the words that a verdict will use."""

    population: str = Field(description="what was measured, in words")
    unit: str = Field(description="the independent source that is counted, as in 'character'")
    random: str = Field(description="what a random impostor is, in words")
    hard: str | None = Field(
        default=None, description="what a hard impostor is, in words: another identity of the same group; none if unset"
    )
    grouped: Literal["units", "items"] = Field(
        default="units",
        description="what comes in groups: units, which are then drawn by group, or the items of each unit (a writer's "
        "names); hard impostors only",
    )
    references: tuple[int, ...] = Field(
        default=(),
        description="numbers of items of one identity, 2 or more each, that rates are also measured for: a new item "
        "compared with so many at once, as POST /match does",
    )
    same_source: str | None = Field(
        default=None, description="name of the genuine pairs of one source, such as 'same_day', tabled apart"
    )
    other_source: str | None = Field(default=None, description="name of those of two sources, such as 'other_day'")
    folds: int = Field(default=9, ge=3, description="folds by unit of a cross-fitted verification")
    draws: int = Field(default=2000, ge=1000, description="bootstrap draws")
    valid_for_days: int = Field(default=730, ge=1, description="how long the evidence holds")
    demonstration: str | None = Field(
        default=None,
        description="why these figures can be no evidence, in words: no rate is claimed, whatever they are",
    )
    floor: str | None = Field(
        default=None,
        description="comparison without learning that stands beside every figure (see model_export/floors); none: no "
        "floor; unset: the plain one of the modality",
    )
    report_items: bool = Field(
        default=False, description="the bundle's report shows its hardest pairs; only where the data may be passed on"
    )

    @field_validator("references")
    @classmethod
    def _counts(cls, references: tuple[int, ...]) -> tuple[int, ...]:
        return check_references(references)


class Recipe(Section):
    """A whole recipe file."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the bundle's: small letters, digits and hyphens"
    )
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="the bundle's, MAJOR.MINOR.PATCH")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the weights, the batches and the distortions")
    weights_licence: str = Field(description="licence of the weights that come out")
    intended_use: str = Field(description="what the encoder is for, in a sentence")
    relation: Relation
    data: DataChoice
    modality: ModalityChoice
    tokenizer: Tokenizer | None = None
    encoder: EncoderChoice
    loss: Loss
    miner: Miner = NoMiner()
    sampler: Sampler
    augmentation: AugmentationChoice = NoAugmentation()
    optimiser: Optimiser
    schedule: Schedule
    compute: Compute = Compute()
    calibration: Calibration
    external: tuple[External, ...] = ()
    _beside: Path = PrivateAttr(default=Path())

    @property
    def beside(self) -> Path:
        """The folder of the recipe file, to which the paths of one's own data are relative."""
        return self._beside

    def model_post_init(self, context: Any) -> None:
        """Keep the folder that read_recipe hands in; it is no field, and no part of the recipe's digest."""
        if isinstance(context, Path):
            self._beside = context

    @model_validator(mode="after")
    def _every_option_counts(self) -> Self:
        for fault in _idle_options(self):
            raise ValueError(fault)
        return self


def _idle_options(recipe: Recipe) -> Iterator[str]:
    """What is set and would not be used: a recipe says nothing that does not count."""
    yield from _idle_in_encoder(recipe)
    kind, encoder, augmentation = recipe.modality.name, recipe.encoder, recipe.augmentation
    drawn = dict.fromkeys(("picture", "photograph"), ("image",))
    fits = {**drawn, "text": ("text",), "sequence": ("audio", "series"), "none": (kind,)}
    if kind not in fits[augmentation.kind]:
        yield f"augmentation.kind: {augmentation.kind} is not for the modality {kind}"
    composed = isinstance(augmentation, PictureAugmentation) and augmentation.composed_share
    if composed and isinstance(recipe.loss, ClassVectorLoss):
        yield f"augmentation.composed_share: {recipe.loss.name} learns each identity, and these are new each time"
    if isinstance(augmentation, SequenceAugmentation) and kind == "series":
        if augmentation.warp:
            yield "augmentation.warp: is for audio, whose channels are bands"
        if augmentation.hide_bands and len(recipe.modality.params.get("channels", ())) < 2:
            yield "augmentation.hide_bands: hides nothing of one channel"
    if not encoder.normalise and distance_of(recipe.loss) != "euclidean":
        yield f"encoder.normalise: {recipe.loss.name} compares by cosine here, which needs unit length"
    if isinstance(recipe.data, PairsData):
        yield from _idle_with_pairs(recipe)
    yield from _idle_mining(recipe)
    yield from _idle_measures(recipe)


def _idle_mining(recipe: Recipe) -> Iterator[str]:
    if isinstance(recipe.loss, ClassVectorLoss) and recipe.miner.name != "none":
        yield f"miner.name: {recipe.loss.name} compares items with learnt vectors, and has no pairs to mine"
    if isinstance(recipe.miner, SinglePairsMiner) and not isinstance(recipe.loss, ContrastiveChoice):
        yield f"miner.name: {recipe.loss.name} compares pairs of one item, and with single_pairs each item has one"


def _idle_in_encoder(recipe: Recipe) -> Iterator[str]:
    """The same of the encoder and what goes with it, and what it lacks."""
    kind, encoder = recipe.modality.name, recipe.encoder
    if (recipe.tokenizer is not None) != (kind == "text" and encoder.from_ is None):
        yield "tokenizer: belongs to the modality text, and must be given there; with encoder.from it comes from there"
    if isinstance(encoder, SequenceChoice):
        for name in ("every", "level") if kind == "text" else ("width",):
            if name in encoder.model_fields_set:
                yield f"encoder.{name}: is not for the modality {kind}"
    if isinstance(encoder, SentenceTransformersChoice):
        if kind != "text":
            yield f"encoder.name: {encoder.name} is not for the modality {kind}"
    elif not recipe.modality.params:
        yield "modality.params: must be given, but for an encoder of sentence-transformers"


def _idle_measures(recipe: Recipe) -> Iterator[str]:
    augmentation = recipe.augmentation
    pale = isinstance(augmentation, PhotographAugmentation) and augmentation.saturation
    if pale and recipe.modality.params.get("mode") != "RGB":
        yield "augmentation.saturation: is for pictures in colour"
    if "grouped" in recipe.calibration.model_fields_set and recipe.calibration.hard is None:
        yield "calibration.grouped: is for hard impostors"
    names = ["random", "hard", *(one.type for other in recipe.external for one in other.impostors)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"external.impostors: {twice[0]!r} is a type of another population; choose another name"
    yield from _idle_reporting(recipe)


def _idle_reporting(recipe: Recipe) -> Iterator[str]:
    """The same of what is said of figures and reports."""
    kind, floor = recipe.modality.name, recipe.calibration.floor
    if floor not in (None, NO_FLOOR) and kind not in FITS.get(floor, ()):
        fitting = ", ".join(name for name, kinds in FITS.items() if kind in kinds)
        yield f"calibration.floor: {floor} is not for the modality {kind}; there are {fitting} and none"
    if recipe.calibration.report_items and (recipe.data.personal or not recipe.data.redistributable):
        yield (
            "calibration.report_items: items are shown only where data.personal is false and data.redistributable true"
        )


def _idle_with_pairs(recipe: Recipe) -> Iterator[str]:
    if recipe.calibration.hard is not None:
        yield "calibration.hard: is not for labelled pairs, whose column impostor names their types"
    if recipe.calibration.references:
        yield "calibration.references: are not for labelled pairs, which say of two items only whether they match"
    if "groups" in recipe.sampler.model_fields_set:
        yield "sampler.groups: is not for labelled pairs, of whose groups as many are taken as fill a batch"


def name_recipe(recipe: Recipe) -> str:
    """What a bundle keeps of the recipe that trained it: the file's name and a digest of what was cut and prepared.

    A recipe of the same name that cuts the data otherwise would measure people who trained.
    """
    parts = {"data": recipe.data, "modality": recipe.modality, "tokenizer": recipe.tokenizer}
    content = {name: part and part.model_dump(mode="json", exclude=MARKS) for name, part in parts.items()}
    return f"{recipe.name}.toml#{sha256_hex(canonical_json(content))[:16]}"


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe. Raises CommandError with one line that names the file and the field."""
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text("utf-8")), context=path.parent)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    except ValidationError as error:
        raise CommandError(f"{path}: {describe_fault(Recipe, error)}") from error


def data_folder(recipe: Recipe) -> Path:
    """The folder of the recipe's data: below TWINSERVE_DATA; for one's own data, that of the recipe file.

    Raises CommandError where it is missing.
    """
    if isinstance(recipe.data, OwnData):
        return recipe.beside
    return set_folder(recipe.data.folder, "data.folder")


def set_folder(name: str, field: str) -> Path:
    """The folder that a recipe's field names, below TWINSERVE_DATA. Raises CommandError where either is missing."""
    root = os.environ.get("TWINSERVE_DATA")
    if not root:
        raise CommandError("set TWINSERVE_DATA to the folder that holds the data sets")
    folder = Path(root) / name
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; the recipe's {field} is looked for below TWINSERVE_DATA")
    return folder
