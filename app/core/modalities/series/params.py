"""The params of the series modality: each on its own, then what they mean together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import BundleRefused

MAX_NUMBERS = 4_194_304
"""Numbers in one item, before and after resampling: about 12 channels at 500 Hz for ten minutes."""
MAX_WINDOWS = 1024
MAX_RATIO = 16.0
"""How far another rate may be from the graph's, either way, however wide the bundle's own bounds."""


class Channel(BaseModel):
    """What one number of a time step measures."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=64, description="what is measured, such as `lead I`")
    unit: str = Field(min_length=1, max_length=32, description="the unit that callers must send, such as `mV`")


class Params(BaseModel):
    """How a series becomes windows. Every field is part of the fingerprint; steps are those of the graph's input."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    channels: tuple[Channel, ...] = Field(min_length=1, max_length=256, strict=False, description="in their order")
    rate: float | None = Field(None, gt=0, description="steps a second; null for irregular or untimed series")
    resample: Literal["soxr_hq"] | None = Field(None, description="brings other rates to `rate`; null refuses them")
    min_rate: float | None = Field(None, gt=0, description="lowest rate of an item that is resampled")
    max_rate: float | None = Field(None, gt=0, description="highest rate of an item that is resampled")
    min_steps: int = Field(ge=2, description="a shorter series is refused")
    max_steps: int = Field(ge=2, description="a longer series is refused, in one window or in many")
    ladder: tuple[int, ...] = Field(
        min_length=1, max_length=16, strict=False, description="lengths to which windows are padded, ascending"
    )
    long: Literal["refuse", "window"] = Field(description="what is done with a series longer than the ladder")
    window_steps: int | None = Field(None, ge=2, description="length of a window of a long series")
    hop_steps: int | None = Field(None, ge=1, description="from the start of a window to that of the next")
    gaps: Literal["refuse", "interpolate"] = Field(
        description="what is done with null: interpolate draws a line between its neighbours and holds the edges"
    )
    max_gap: int | None = Field(None, ge=1, description="the longest run of nulls that is interpolated, in steps")
    normalisation: Literal["none", "declared", "per_item"] = Field(
        description="declared subtracts mean and divides by scale; per_item does so with the item's own, by channel"
    )
    mean: tuple[float, ...] | None = Field(None, strict=False, description="a number for each channel, in its unit")
    scale: tuple[float, ...] | None = Field(None, strict=False, description="likewise, above 0")


def check(params: Mapping[str, Any]) -> Params:
    """The params of a manifest. Raises BundleRefused with the first field that is wrong."""
    try:
        checked = Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleRefused(f"modality.params.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for fault in chain(_rate_faults(checked), _length_faults(checked), _value_faults(checked)):
        raise BundleRefused(f"modality.params.{fault}")
    return checked


def _rate_faults(params: Params) -> Iterator[str]:
    rate, low, high = params.rate, params.min_rate, params.max_rate
    if rate is None and params.resample is not None:
        yield "resample: must be null where rate is"
    if params.resample is None:
        if low is not None or high is not None:
            yield "min_rate: min_rate and max_rate are for a bundle that resamples"
    elif rate is not None and (low is None or high is None):
        yield "min_rate: a bundle that resamples declares min_rate and max_rate"
    elif rate and low and high and not rate / MAX_RATIO <= low <= rate <= high <= rate * MAX_RATIO:
        yield f"min_rate: min_rate and max_rate must enclose rate, neither more than {MAX_RATIO:g} times away"


def _length_faults(params: Params) -> Iterator[str]:
    ladder, window, hop = params.ladder, params.window_steps, params.hop_steps
    if params.max_steps * len(params.channels) > MAX_NUMBERS:
        yield f"max_steps: times the number of channels it must be at most {MAX_NUMBERS}"
    if params.long == "window":
        if window is None or hop is None or not hop <= window <= params.max_steps:
            yield "window_steps: long = window needs hop_steps <= window_steps <= max_steps"
        elif -(-(params.max_steps - window) // hop) >= MAX_WINDOWS:
            yield f"hop_steps: a series of max_steps would give more than {MAX_WINDOWS} windows"
    elif window is not None or hop is not None:
        yield "window_steps: window_steps and hop_steps are for long = window"
    longest = params.max_steps if window is None else window
    if params.min_steps > longest:
        yield f"min_steps: must be at most {longest}, the longest window"
    if ladder[0] < 1 or list(ladder) != sorted(set(ladder)) or ladder[-1] != longest:
        yield f"ladder: must ascend from at least 1 to {longest}, the longest window"


def _value_faults(params: Params) -> Iterator[str]:
    size = len(params.channels)
    if len({channel.name for channel in params.channels}) != size:
        yield "channels: names must differ"
    if (params.gaps == "interpolate") != (params.max_gap is not None):
        yield "max_gap: belongs to gaps = interpolate, and must be given there"
    for name, numbers in (("mean", params.mean), ("scale", params.scale)):
        if (params.normalisation == "declared") != (numbers is not None):
            yield f"{name}: belongs to normalisation = declared, and must be given there"
        if numbers is not None and len(numbers) != size:
            yield f"{name}: needs {size} numbers, one for each channel"
    if params.scale is not None and min(params.scale) <= 0:
        yield "scale: must be above 0"
