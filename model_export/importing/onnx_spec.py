"""The spec of `import onnx`: what an ONNX file takes and gives, as its owner declares it. TOML, checked before work.

docs/importing.md says what each field means; a test holds the two together.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_export.errors import CommandError
from model_export.importing.declaring import UNKNOWN, Declared, Metric

Numbers = float | Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Relation(_Section):
    """What a match means in words."""

    match_means: str = Field(min_length=1, description="what two matching items have in common")
    not_: str = Field(alias="not", min_length=1, description="what a match does not mean")


class Licence(_Section):
    """Licences, in words."""

    weights: str = Field(UNKNOWN, min_length=1, description="licence of the weights")
    data: str = Field(UNKNOWN, min_length=1, description="licence of the data that they were trained on")


class Modality(_Section):
    """How items are prepared: as docs/modalities/ says."""

    name: str
    params: dict[str, Any]
    assets: dict[str, Path] = Field(default={}, description="name in the bundle -> file, beside the spec or absolute")


class Pixels(_Section):
    """What becomes of the image modality's uint8 (height, width, channels) before the file's graph takes it."""

    layout: Literal["nhwc", "nchw"] = "nchw"
    channels: Literal["rgb", "bgr"] = Field("rgb", description="order of the channels; of mode RGB only")
    mean: Numbers = Field(0.0, description="taken from each value, one number or one a channel in the graph's order")
    scale: Numbers = Field(1.0, description="then each value is divided by it")

    @model_validator(mode="after")
    def _scales_are_positive(self) -> Self:
        if min(self.scale if isinstance(self.scale, tuple) else (self.scale,)) <= 0:
            raise ValueError("scale must be above 0")
        return self


class Graph(_Section):
    """What the file's graph takes and gives."""

    inputs: dict[str, str] = Field(
        default={}, description="what the modality makes -> the graph's input; equal names may be left out"
    )
    pixels: Pixels | None = Field(None, description="for modality image, and needed there")
    layout: Literal["ntc", "nct"] = Field("ntc", description="of a series' values or a sound's features")
    output: str | None = Field(None, description="the graph's output; may be left out where it has one")
    pooling: Literal["none", "mean", "first"] = Field(
        "none", description="of an output (batch, steps, d): the mean over what the mask marks, or the first step"
    )
    normalise: bool = Field(True, description="whether unit length is appended to the graph")
    metric: Metric = "cosine"


class Spec(_Section):
    """A whole spec file."""

    name: str
    version: str = "1.0.0"
    intended_use: str = Field(UNKNOWN, min_length=1)
    origin: str = Field(UNKNOWN, min_length=1, description="where the weights come from and what they were trained on")
    relation: Relation
    licence: Licence = Licence()
    modality: Modality
    graph: Graph
    reference: Path | None = Field(None, description="items and the vectors that the owner's own pipeline gives")
    reference_tolerance: float = Field(1e-3, gt=0, le=0.1, description="largest difference from them in any component")

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        if (self.modality.name == "image") != (self.graph.pixels is not None):
            raise ValueError("graph.pixels belongs to modality image, and must be given there")
        if self.graph.metric == "euclidean" and self.graph.normalise:
            raise ValueError("graph.metric euclidean compares lengths too: set graph.normalise = false")
        return self

    @property
    def declared(self) -> Declared:
        """What the manifest takes over."""
        return Declared(
            name=self.name,
            version=self.version,
            match_means=self.relation.match_means,
            not_=self.relation.not_,
            intended_use=self.intended_use,
            weights_licence=self.licence.weights,
            data_licence=self.licence.data,
        )


def read_spec(path: Path) -> Spec:
    """Read and check a spec. Raises CommandError with one line that names the file and the field."""
    try:
        return Spec.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise CommandError(f"{path}: {where}: {said}" if where else f"{path}: {said}") from error


def read_assets(spec: Spec, folder: Path) -> dict[str, bytes]:
    """The modality's files by their names in the bundle; `folder` is the spec's. Raises OSError."""
    return {name: (folder / file).read_bytes() for name, file in spec.modality.assets.items()}
