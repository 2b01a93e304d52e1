"""What the audio modality takes of items and of a manifest, and what it refuses there."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import BundleRefused, InvalidRequest
from app.core.modalities import create as create_by_name
from app.core.modalities.base import Limits
from tests.core.modalities.sounds import (
    LOG_MEL,
    PARAMS,
    WAVEFORM,
    encoded,
    modality,
    prepared,
    speechlike,
)


def test_members_of_an_item_are_checked() -> None:
    data = encoded(speechlike())
    with pytest.raises(InvalidRequest, match="'rate'"):
        prepared(data, item={"rate": 8000})
    with pytest.raises(InvalidRequest, match="'truncate'"):
        prepared(data, item={"truncate": "yes"})
    with pytest.raises(InvalidRequest, match="send its bytes"):
        modality().prepare({}, Limits())
    with pytest.raises(InvalidRequest, match="send its bytes"):
        modality().prepare({"bytes": "UklGRg=="}, Limits())


def test_modality_is_found_by_its_name_and_says_what_it_takes() -> None:
    found = create_by_name("audio", PARAMS, {})
    assert found.form == "base64"
    assert "audio/wav".startswith(found.media_types)
    assert "application/ogg".startswith(found.media_types)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"gain": 2}, "gain"),
        ({"rate": 100}, "rate"),
        ({"mixdown": "left"}, "mixdown"),
        ({"resampler": "linear"}, "resampler"),
        ({"trim": "on"}, "trim"),
        ({"silence_db": 3.0}, "silence_db"),
        ({"silence_db": float("nan")}, "silence_db"),
        ({"clipping_share": 0.0}, "clipping_share"),
        ({"min_seconds": 3.0}, "min_seconds"),
        ({"min_seconds": 0.01}, "min_seconds"),
        ({"min_seconds": 0.025, "features": LOG_MEL | {"normalise": "per_item_mean"}}, "min_seconds"),
        ({"min_seconds": 1e-6, **WAVEFORM}, "min_seconds"),
        ({"ladder_seconds": []}, "ladder_seconds"),
        ({"ladder_seconds": [1.0]}, "ladder_seconds"),
        ({"ladder_seconds": [0.05, 2.0]}, "ladder_seconds"),
        ({"ladder_seconds": [1.0, 1.001, 2.0]}, "ladder_seconds"),
        ({"long": {"policy": "refuse", "hop_seconds": 1.0}}, "long"),
        ({"long": {"policy": "window", "window_seconds": 1.0}}, "long"),
        ({"long": {"policy": "window", "window_seconds": 3.0, "hop_seconds": 1.0}}, "long.window_seconds"),
        ({"long": {"policy": "window", "window_seconds": 1.0, "hop_seconds": 0.01}}, "long.hop_seconds"),
        ({"features": {"kind": "mfcc"}}, "features"),
        ({"features": {"kind": "waveform", "n_fft": 512}}, "features"),
        ({"features": LOG_MEL | {"win_length": 600}}, "features.win_length"),
        ({"features": LOG_MEL | {"hop_length": 401}}, "features.hop_length"),
        ({"features": LOG_MEL | {"fmax": 8001.0}}, "features.fmax"),
        ({"features": LOG_MEL | {"fmin": 7600.0}}, "features.fmax"),
        ({"features": LOG_MEL | {"n_mels": 256}}, "features.n_mels"),
    ],
)
def test_params_that_cannot_be_are_refused_by_name(params: dict[str, Any], field: str) -> None:
    with pytest.raises(BundleRefused, match=f"^modality.params.{field}"):
        modality(**params)


@pytest.mark.parametrize("field", PARAMS)
def test_every_param_must_be_declared(field: str) -> None:
    with pytest.raises(BundleRefused, match=f"^modality.params.{field}: "):
        create_by_name("audio", {name: value for name, value in PARAMS.items() if name != field}, {})
