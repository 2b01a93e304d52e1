"""The `[augmentation]` section of a recipe. One class a kind of item."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from model_export.recipe.data import Section


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
    thickness: float = Field(
        default=0, ge=0, le=1, description="strokes grow or shrink by up to this much of a pixel on each side"
    )
    quarter_turn_share: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of batches whose identities are turned by quarter turns, as new identities",
    )
    turned_batch_share: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of batches turned or mirrored as a whole, in one of seven ways, as new identities",
    )
    composed_share: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="share of a batch's identities replaced by pairs of others, side by side, above or in a corner, "
        "as new identities; not for losses that learn a vector for each identity",
    )
    elastic: float = Field(
        default=0,
        ge=0,
        lt=0.25,
        description="standard deviation by which 5 x 5 points move, each by itself and smoothly between, as a share "
        "of the side",
    )

    @model_validator(mode="after")
    def _turns_one_way(self) -> Self:
        if self.quarter_turn_share and self.turned_batch_share:
            raise ValueError("quarter_turn_share and turned_batch_share: give one of them")
        return self


class PhotographAugmentation(Section):
    """Another frame and another light for training photographs; see model_export/augment/photographs.py."""

    kind: Literal["photograph"]
    crop: float = Field(default=0, ge=0, lt=1, description="largest share of each side that is cut off")
    mirror: bool = Field(default=False, description="half of the pictures are mirrored left to right")
    brightness: float = Field(default=0, ge=0, lt=1, description="all levels are multiplied by 1 +-, uniform")
    contrast: float = Field(default=0, ge=0, lt=1, description="distances from the mean level are multiplied by 1 +-")
    saturation: float = Field(default=0, ge=0, lt=1, description="distances from grey by 1 +-; colours only")


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
    NoAugmentation | PictureAugmentation | PhotographAugmentation | SequenceAugmentation | TextAugmentation,
    Field(discriminator="kind"),
]
