"""The `[data]` section of a recipe: which reader, which part of a set, and how it is cut. One class a reader.

Those of one's own data are in own_data.py.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.own_data import FolderData, ItemsData, PairsData
from model_export.recipe.section import DataSection, Section

__all__ = [
    "DataChoice",
    "EcgIdData",
    "FolderData",
    "FsddData",
    "GaitData",
    "HarData",
    "IntentsData",
    "ItemsData",
    "KeystrokesData",
    "OmniglotData",
    "PairsData",
    "Section",
    "UcrData",
]


class OmniglotData(DataSection):
    """Drawings of characters; see model_export/datasets/omniglot.py."""

    reader: Literal["omniglot"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    validation_groups: tuple[str, ...] = Field(
        default=(), description="training groups kept aside to watch progress; never calibration or test groups"
    )
    licence: str = Field(description="licence and attribution of the data")


class IntentsData(DataSection):
    """Short questions by intent, from Banking77 and CLINC150; see model_export/datasets/intents.py."""

    reader: Literal["intents"]
    folder: str = Field(description="folder below TWINSERVE_DATA that holds both sets' folders; '.' is itself")
    shares: tuple[float, float, float] = Field(
        description="shares of each domain's intents that calibrate, test and validate; the others train"
    )
    per_intent: int = Field(ge=2, description="questions of each intent that are measured, drawn")
    seed: int = Field(default=0, description="of the cut and the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if min(self.shares) <= 0 or sum(self.shares) >= 1:
            raise ValueError("shares must be above 0, and leave some intents to train on")
        return self


class FsddData(DataSection):
    """Spoken digits; see model_export/datasets/fsdd.py."""

    reader: Literal["fsdd"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    training_speakers: tuple[str, ...] = Field(min_length=2, description="voices that train")
    held_out_speakers: tuple[str, ...] = Field(min_length=1, description="measuring impostors takes two at least")
    licence: str = Field(description="licence and attribution of the data")

    @model_validator(mode="after")
    def _are_different_people(self) -> Self:
        everyone = (*self.training_speakers, *self.held_out_speakers)
        if len(set(everyone)) != len(everyone):
            raise ValueError("a speaker trains or is held out, once")
        return self


class EcgIdData(DataSection):
    """Electrocardiograms of people on one or several days; see model_export/datasets/ecg_id.py."""

    reader: Literal["ecg_id"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="people who are measured, drawn")
    held_out_several_days: int = Field(ge=0, description="of these, people recorded on several days")
    validation: int = Field(ge=2, description="of the people left, those who only watch the training")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class KeystrokesData(DataSection):
    """People typing one word; see model_export/datasets/keystrokes.py."""

    reader: Literal["keystrokes"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="people who are measured, drawn")
    validation: int = Field(ge=2, description="of the people left, those who only watch the training")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class GaitData(DataSection):
    """People walking with a phone; see model_export/datasets/gait.py."""

    reader: Literal["gait"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    steps: Literal[2, 5] = Field(description="which of the set's files: about so many steps a series")
    held_out: int = Field(ge=2, description="people who are measured, drawn")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class HarData(DataSection):
    """Windows of activities; see model_export/datasets/har.py."""

    reader: Literal["har"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: tuple[Literal["walking", "upstairs", "downstairs", "sitting", "standing", "laying"], ...] = Field(
        min_length=2, description="activities that are measured"
    )
    licence: str = Field(description="licence and attribution of the data")


class UcrData(DataSection):
    """Sets of the UCR and UEA archives; see model_export/datasets/ucr.py."""

    reader: Literal["ucr"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    sets: tuple[str, ...] = Field(min_length=1, description="names of the sets, all of as many channels")
    held_out: float = Field(ge=0, lt=1, description="share of each set's classes that are measured; 0: official parts")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class SignaturesData(DataSection):
    """Names signed by many hands in four media; see model_export/datasets/signatures.py."""

    reader: Literal["signatures"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="writers who are measured, drawn")
    validation: int = Field(ge=2, description="of the writers left, those who only watch the training")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class GroceriesData(DataSection):
    """Photographs of products in a shop; see model_export/datasets/groceries.py."""

    reader: Literal["groceries"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    held_out: int = Field(ge=4, description="products that are measured, by whole kinds, drawn")
    validation: int = Field(
        ge=2, description="of the products left, those that only watch the training, by whole kinds"
    )
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class XrayData(DataSection):
    """Chest X-rays with a diagnosis; see model_export/datasets/xray.py."""

    reader: Literal["xray"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    validation: int = Field(ge=4, description="training pictures that only watch the training, drawn")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")


class FacesData(DataSection):
    """Photographs of people; see model_export/datasets/faces.py."""

    reader: Literal["faces"]
    folder: str = Field(description="folder below TWINSERVE_DATA")
    training_folds: tuple[int, ...] = Field(min_length=1, description="official folds whose people train")
    held_out_folds: tuple[int, ...] = Field(min_length=1, description="official folds whose people are measured")
    validation: int = Field(ge=2, description="of the training people with two pictures, those who only watch, drawn")
    seed: int = Field(default=0, description="of the drawing; the recipe's own seed is the training's")
    licence: str = Field(description="licence and attribution of the data")

    @model_validator(mode="after")
    def _are_different_folds(self) -> Self:
        if len({*self.training_folds, *self.held_out_folds}) != len(self.training_folds) + len(self.held_out_folds):
            raise ValueError("a fold trains or is held out, once")
        return self


DataChoice = Annotated[
    OmniglotData
    | IntentsData
    | FsddData
    | EcgIdData
    | KeystrokesData
    | GaitData
    | HarData
    | UcrData
    | SignaturesData
    | GroceriesData
    | XrayData
    | FacesData
    | FolderData
    | ItemsData
    | PairsData,
    Field(discriminator="reader"),
]
