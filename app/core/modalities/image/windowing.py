"""DICOM samples to 8 bits: the window that a bundle declares, and the standard's linear formula. No files here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

Table = npt.NDArray[np.uint8]


class Dicom(BaseModel):
    """How the grey samples of a DICOM file become 8 bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Literal["file"] | tuple[float, float] = Field(
        description="[centre, width] in output units of the modality LUT (Hounsfield units in CT), the same for every "
        "file; or file: the first window that each file declares, refused where it has none"
    )

    @field_validator("window", mode="plain")
    @classmethod
    def _check_window(cls, value: Any) -> Literal["file"] | tuple[float, float]:
        """In one step, so that a wrong value gets one sentence and not one for each type it could have been."""
        if value == "file":
            return "file"
        if isinstance(value, list | tuple) and len(value) == 2 and all(type(one) in (int, float) for one in value):
            centre, width = float(value[0]), float(value[1])
            if math.isfinite(centre) and math.isfinite(width) and width >= 1:
                return centre, width
        raise PydanticCustomError("window", 'must be "file", or [centre, width]: finite numbers, the width at least 1')


@dataclass(frozen=True, slots=True)
class Grey:
    """What turns stored grey samples into what a viewer shows. Slope and intercept are those of the modality LUT."""

    stored_bits: int
    signed: bool
    slope: float
    intercept: float
    centre: float
    width: float
    inverted: bool


def make_table(grey: Grey) -> Table:
    """The 8-bit level of every possible sample, by its bit pattern: uint8 (2 ** stored_bits,).

    PS3.3 C.11.2.1.2.1 with output 0 to 255, in float64, to the nearest level, halves up; `inverted` (MONOCHROME1)
    shows 255 less that. A table: one look-up, however large the picture, and memory for no float of it.
    """
    patterns = np.arange(2**grey.stored_bits, dtype=np.int64)
    values = patterns
    if grey.signed:
        values = np.where(patterns < 2 ** (grey.stored_bits - 1), patterns, patterns - 2**grey.stored_bits)
    # A file may declare any finite slope: what overflows is beyond the window, on the side its sign says.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        x = values * grey.slope + grey.intercept
        middle, reach = grey.centre - 0.5, grey.width - 1.0
        inside = ((x - middle) / reach + 0.5) * 255.0
        levels = np.where(x <= middle - reach / 2, 0.0, np.where(x > middle + reach / 2, 255.0, inside))
    table = np.floor(levels + 0.5).astype(np.uint8)
    return 255 - table if grey.inverted else table
