"""The `[encoder]` section of a recipe. One class an encoder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from model_export.recipe.data import Section


def _check_odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd, so that it has a middle")
    return number


OddNumber = Annotated[int, Field(ge=1), AfterValidator(_check_odd)]


class Encoder(Section):
    """What all encoders share."""

    dimension: int = Field(ge=2, le=4096, description="length of an embedding")
    normalise: bool = Field(
        default=True,
        description="embeddings have unit length, and cosine compares them; false: their Euclidean distance does",
    )
    from_: str | None = Field(
        default=None,
        alias="from",
        description="folder of an earlier run, relative to the recipe file, whose weights this training begins with; "
        "it must have the same encoder and modality; unset: it begins untrained",
    )
    from_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the weights it begins with in those that are watched and exported; the rest are those "
        "that training comes to (WiSE-FT, Wortsman et al. 2022)",
    )

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if self.from_share and self.from_ is None:
            raise ValueError("from_share: is of the weights that `from` names")
        return self

    @property
    def metric(self) -> Literal["cosine", "euclidean"]:
        """What compares its embeddings."""
        return "cosine" if self.normalise else "euclidean"

    @property
    def trained_dimension(self) -> int:
        """Length of the vectors that training sees."""
        return self.dimension


class ConvolutionalChoice(Encoder):
    """Pictures; see model_export/encoders/convolutional.py."""

    name: Literal["convolutional"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=6, description="convolution blocks, each halving the resolution")


class ResidualChoice(Encoder):
    """Larger pictures of any height and width; see model_export/encoders/residual.py."""

    name: Literal["residual"]
    stages: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, max_length=6, description="filters of each stage; each but the first halves the resolution"
    )
    blocks: int = Field(default=2, ge=1, le=8, description="residual blocks of each stage, of two convolutions")
    halve_first: bool = Field(default=False, description="the first convolution halves the resolution too")
    pooling: Literal["mean", "flatten"] = Field(
        default="mean", description="what the head sees: the mean over the picture, or every place by itself"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of values hidden before the head in training")


class DrawingChoice(Encoder):
    """Single drawings, dark on light, in one channel; see model_export/encoders/drawing.py and centring.py."""

    name: Literal["drawing"]
    side: int = Field(ge=8, le=512, description="pixels along each side, once place and size are taken out")
    spread: float = Field(
        default=0.19,
        gt=0,
        lt=0.5,
        description="spread of the ink then, the root of its mean variance along both axes, as a share of side",
    )
    jitter: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="standard deviation, as a share of half the side, by which place and size still vary in training",
    )
    stages: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=2, max_length=6, description="filters of each stage, each of which halves the resolution"
    )
    blocks: int = Field(default=1, ge=0, le=8, description="convolutions added at the end of each stage but the first")

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.side < 2 ** len(self.stages):
            raise ValueError(f"stages: {len(self.stages)} halvings leave nothing of {self.side} pixels")
        return self


class TimmChoice(Encoder):
    """Pictures, a backbone of timm, untrained; see model_export/encoders/timm_backbone.py."""

    name: Literal["timm"]
    model: str = Field(min_length=1, description="timm's name of the backbone, as in 'resnet18'")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of values hidden before the head in training")


class SequenceChoice(Encoder):
    """What all encoders of sequences share; see model_export/encoders/fronts.py."""

    every: int = Field(default=1, ge=1, description="steps averaged into one before anything else; not for text")
    level: OddNumber | Literal[0] = Field(
        default=0, description="averaged steps around each whose mean is taken off; 0: none; not for text"
    )
    width: int = Field(default=128, ge=1, description="length of a token's embedding; text only")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of values hidden in training")


class Convolutional1dChoice(SequenceChoice):
    """Sequences; see model_export/encoders/convolutional_1d.py."""

    name: Literal["convolutional_1d"]
    filters: int = Field(ge=1, description="filters of every convolution")
    blocks: int = Field(ge=1, le=8, description="convolution blocks, each halving the steps")
    kernel: OddNumber = Field(description="steps that a convolution sees")


class SpectralChoice(SequenceChoice):
    """Sequences whose channels are neighbouring bands, as those of sounds; see model_export/encoders/spectral.py."""

    name: Literal["spectral"]
    stages: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, max_length=6, description="filters of each block, each of which halves steps and bands"
    )


class RecurrentChoice(SequenceChoice):
    """Sequences; see model_export/encoders/recurrent.py."""

    name: Literal["gru", "lstm"] = Field(description="the unit: two gates and one state, or three gates and two states")
    hidden: int = Field(ge=1, description="values that the unit remembers")
    layers: int = Field(default=1, ge=1, le=4, description="units stacked")


class TransformerChoice(SequenceChoice):
    """Texts or sequences; see model_export/encoders/transformer.py."""

    name: Literal["transformer"]
    hidden: int = Field(ge=2, description="values of each step in every layer; even, and `heads` divides it")
    inner: int = Field(ge=1, description="values of each step within a layer's small network, often 2 to 4 * hidden")
    heads: int = Field(default=4, ge=1, description="parts of the values that attend by themselves")
    layers: int = Field(default=2, ge=1, le=24, description="layers stacked")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden % 2 or self.hidden % self.heads:
            raise ValueError("hidden must be even, and heads must divide it")
        return self


class BagChoice(SequenceChoice):
    """Text, or sequences whose order does not count; see model_export/encoders/bag.py."""

    name: Literal["bag"]
    hidden: int = Field(ge=1, description="width of the hidden layer after the mean")
    lexical_share: float = Field(
        default=0.0, ge=0, lt=1, description="share of the score that the rarity of shared tokens decides; text only"
    )
    lexical_dimension: int = Field(default=0, ge=0, description="of `dimension`, what that part takes; 0 without it")

    @property
    def trained_dimension(self) -> int:
        """The lexical part stands beside only once training is over."""
        return self.dimension - self.lexical_dimension

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if (self.lexical_share > 0) != (self.lexical_dimension > 0):
            raise ValueError("lexical_share and lexical_dimension are given together")
        if self.lexical_dimension >= self.dimension:
            raise ValueError("lexical_dimension must leave some of dimension")
        if self.lexical_share and not self.normalise:
            raise ValueError("lexical_share is a share of the cosine, and normalise = false has none")
        return self


class SentenceTransformersChoice(Encoder):
    """Texts, an encoder of sentence-transformers trained on; see model_export/encoders/sentences.py."""

    name: Literal["sentence_transformers"]
    from_: str = Field(
        alias="from",
        description="its directory, relative to the recipe file, or an earlier run of such an encoder; tokenizer, "
        "prefixes and lengths come with it, and `dimension` must be its own",
    )
    frozen_layers: int | None = Field(
        default=None,
        ge=0,
        description="the token embeddings and so many of the first layers stay as they are; unset: all are trained",
    )


PictureChoice = ConvolutionalChoice | ResidualChoice | DrawingChoice | TimmChoice
SequenceEncoderChoice = Convolutional1dChoice | SpectralChoice | RecurrentChoice | TransformerChoice | BagChoice
EncoderChoice = Annotated[
    PictureChoice | SequenceEncoderChoice | SentenceTransformersChoice, Field(discriminator="name")
]
