"""What a bundle declares about its sound: every field changes the arrays or what is refused. No samples here."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import BundleRefused

Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LogMel(_Declared):
    """The logarithm of the energy in mel bands, frame by frame; features.py has the formula."""

    kind: Literal["log_mel"]
    n_fft: int = Field(ge=16, le=16384, description="length of the Fourier transform, in samples; zeros fill it up")
    win_length: int = Field(ge=16, le=16384, description="samples under the periodic Hann window; at most n_fft")
    hop_length: int = Field(ge=1, le=16384, description="samples from one frame to the next; at most win_length")
    n_mels: int = Field(ge=1, le=512, description="number of mel bands")
    fmin: float = Field(ge=0, description="lower edge of the lowest band, in Hz")
    fmax: float = Field(gt=0, description="upper edge of the highest band, in Hz; at most half the rate")
    floor: float = Field(gt=0, le=1, description="band energies below it count as this much, before the logarithm")
    mel_scale: Literal["htk", "slaney"] = Field(
        description="htk: 2595 log10(1 + f/700), bands of peak 1; slaney: linear below 1 kHz, bands of equal area"
    )
    normalise: Literal["none", "per_item_mean"] = Field(
        description="per_item_mean takes from each band its mean over all frames of the item"
    )


class Waveform(_Declared):
    """The samples themselves, full scale at 1."""

    kind: Literal["waveform"]


class Refuse(_Declared):
    """A sound longer than max_seconds is refused, unless its item says `truncate`."""

    policy: Literal["refuse"]


class Windows(_Declared):
    """A sound longer than max_seconds becomes windows, whose embeddings are pooled."""

    policy: Literal["window"]
    window_seconds: Seconds = Field(description="length of each window; at most max_seconds")
    hop_seconds: Seconds = Field(description="from one window's start to the next; a tenth to the whole of a window")


class Params(_Declared):
    """How a sound file becomes what the graph takes. Every field is part of the fingerprint."""

    rate: int = Field(ge=4000, le=384_000, description="samples a second that the graph expects, in Hz")
    mixdown: Literal["mean"] = Field(description="mono is the mean of all channels")
    resampler: Literal["soxr_hq"] = Field(description="libsoxr at quality HQ, for files of another rate")
    trim: Literal["off"] | Annotated[float, Field(gt=0, le=120)] = Field(
        description="dB below the loudest 20 ms at which quieter beginnings and ends are cut off, or off"
    )
    min_seconds: Seconds = Field(description="shortest sound taken, once trimmed")
    max_seconds: Seconds = Field(description="longest sound that the graph takes in one piece, once trimmed")
    long: Annotated[Refuse | Windows, Field(discriminator="policy")] = Field(
        description="what becomes of a sound longer than max_seconds"
    )
    ladder_seconds: tuple[Seconds, ...] = Field(
        min_length=1,
        max_length=8,
        description="lengths to which sounds are padded, ascending; the last one is max_seconds",
    )
    silence_db: float = Field(
        ge=-120, le=0, description="a sound whose RMS about its mean is below this, in dBFS, is refused as silent"
    )
    clipping_share: float = Field(
        gt=0, le=1, description="share of the file's samples at full scale above which it is refused as clipped"
    )
    features: Annotated[LogMel | Waveform, Field(discriminator="kind")]

    def samples(self, seconds: float) -> int:
        """The number of samples at the declared rate, to the nearest."""
        return round(seconds * self.rate)

    def steps(self, samples: int) -> int:
        """Frames that fit wholly into so many samples, or the samples themselves for a waveform."""
        if isinstance(self.features, Waveform):
            return samples
        return max(0, 1 + (samples - self.features.win_length) // self.features.hop_length)


def read_params(params: Mapping[str, Any]) -> Params:
    """Check `modality.params` of a manifest. Raises BundleRefused naming the first field that cannot be."""
    try:
        checked = Params.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        raise _refused(".".join(map(str, first["loc"])), first["msg"]) from error
    if isinstance(checked.features, LogMel):
        _check_frames(checked, checked.features)
    _check_lengths(checked)
    return checked


def _check_lengths(params: Params) -> None:
    if params.min_seconds > params.max_seconds:
        raise _refused("min_seconds", "is more than max_seconds")
    # The mean of a single frame is that frame, and what is left of it nothing.
    centred = isinstance(params.features, LogMel) and params.features.normalise == "per_item_mean"
    if params.steps(params.samples(params.min_seconds)) < (2 if centred else 1):
        raise _refused("min_seconds", f"is too short: the graph needs {2 if centred else 1} or more steps")
    ladder = [params.steps(params.samples(seconds)) for seconds in params.ladder_seconds]
    if any(later <= earlier for earlier, later in pairwise(ladder)):
        raise _refused("ladder_seconds", "lengths must ascend, each by at least one step of the graph's input")
    if params.ladder_seconds[-1] != params.max_seconds or params.ladder_seconds[0] < params.min_seconds:
        raise _refused("ladder_seconds", "must begin at min_seconds or above and end at max_seconds")
    if isinstance(params.long, Windows):
        if not params.min_seconds <= params.long.window_seconds <= params.max_seconds:
            raise _refused("long.window_seconds", "must lie between min_seconds and max_seconds")
        if not params.long.window_seconds / 10 <= params.long.hop_seconds <= params.long.window_seconds:
            raise _refused("long.hop_seconds", "must be a tenth of window_seconds at least, and at most all of it")


def _check_frames(params: Params, features: LogMel) -> None:
    if features.win_length > features.n_fft:
        raise _refused("features.win_length", "is more than n_fft")
    if features.hop_length > features.win_length:
        raise _refused("features.hop_length", "is more than win_length, so that samples would go unheard")
    if not features.fmin < features.fmax <= params.rate / 2:
        raise _refused("features.fmax", "must be above fmin and at most half the rate")


def _refused(field: str, reason: str) -> BundleRefused:
    return BundleRefused(f"modality.params.{field}: {reason}")
