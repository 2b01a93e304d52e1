"""Sound files that are cut, damaged, or say of themselves what is not so: refused, never taken in part unnoticed."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest

from app.core.errors import TooLarge, UnusableInput
from app.core.modalities.base import Limits
from tests.core.modalities.sounds import (
    CONSTANT,
    FILES,
    RATE,
    WINDOWS,
    encoded,
    flac_declaring,
    modality,
    ogg_declaring,
    prepared,
    speechlike,
    wav_header,
    without_xing,
)


@pytest.mark.parametrize("name", FILES)
def test_cut_file_is_refused_wherever_it_is_cut(name: str) -> None:
    data = FILES[name]
    prepared(data)
    sound = modality(min_seconds=0.03, ladder_seconds=[2.0])  # so that being short is not what refuses it
    for length in sorted(
        {len(data) * step // 60 for step in range(60)} | set(range(max(0, len(data) - 40), len(data)))
    ):
        with pytest.raises(UnusableInput):
            sound.prepare({"bytes": data[:length]}, Limits())


def test_mp3_without_a_frame_count_shows_a_cut_only_inside_a_frame() -> None:
    """A limit of the format, stated in the docs: a cut between two frames leaves a whole, shorter file."""
    data = without_xing(encoded(speechlike(), "MP3", **CONSTANT))
    refused = 0
    for cut in range(1, 200):
        try:
            prepared(data[:-cut])
        except UnusableInput:
            refused += 1
    assert refused >= 197


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_raises_nothing_but_documented_errors(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(name)
    sound = modality()
    for _ in range(100):
        data = bytearray(FILES[name])
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(min(len(data), rng.choice((64, 400, 10**9))))] = rng.randrange(256)
        try:
            sound.prepare({"bytes": bytes(data)}, Limits(max_seconds=5.0))
        except (UnusableInput, TooLarge) as error:
            assert error.detail  # noqa: PT017 - either outcome is fine, an error without a sentence is not
    assert "Traceback" not in capfd.readouterr().err


def test_damaged_part_of_a_checked_format_is_never_left_out_silently() -> None:
    for name in ("flac", "flac of unknown length", "vorbis", "opus"):
        for place in (0.4, 0.6, 0.8, 0.99):
            data = bytearray(FILES[name])
            data[int(len(data) * place)] ^= 1
            with pytest.raises(UnusableInput, match="damaged"):
                prepared(bytes(data))


HOURS = 3 * 3600 * RATE
LYING_LONG = {
    "wav": wav_header(HOURS),
    "stereo wav": wav_header(HOURS, channels=2),
    "flac": flac_declaring(FILES["flac"], HOURS),
    "vorbis": ogg_declaring(FILES["vorbis"], HOURS),
    "opus": ogg_declaring(FILES["opus"], 3 * 3600 * 48000),
}


@pytest.mark.parametrize("params", [{}, WINDOWS])
@pytest.mark.parametrize("name", LYING_LONG)
def test_header_that_declares_hours_is_refused_at_once(name: str, params: dict[str, Any]) -> None:
    sound = modality(**params)
    began = time.perf_counter()
    with pytest.raises(TooLarge, match="seconds"):
        sound.prepare({"bytes": LYING_LONG[name]}, Limits())
    assert time.perf_counter() - began < 0.5


LYING_A_LITTLE = {
    "wav": wav_header(RATE),
    "flac": flac_declaring(FILES["flac"], RATE + 1),
    "vorbis": ogg_declaring(FILES["vorbis"], RATE + 2000),
}


@pytest.mark.parametrize("name", LYING_A_LITTLE)
def test_file_that_holds_less_than_it_declares_is_refused(name: str) -> None:
    with pytest.raises(UnusableInput, match="damaged or cut short"):
        prepared(LYING_A_LITTLE[name])


def test_mp3_of_which_a_part_would_go_unheard_is_refused() -> None:
    quiet_first = np.concatenate([0.001 * speechlike(1.0), 0.5 * np.random.default_rng(0).normal(0, 0.3, 3 * RATE)])
    data = encoded(np.clip(quiet_first, -0.9, 0.9), "MP3", bitrate_mode="VARIABLE", compression_level=0.2)
    params: dict[str, Any] = {"max_seconds": 30.0, "ladder_seconds": [30.0]}
    prepared(data, **params)
    with pytest.raises(UnusableInput, match="misstates"):
        prepared(data[: len(data)] + without_xing(data), **params)


def test_ogg_of_several_streams_is_refused() -> None:
    with pytest.raises(UnusableInput, match="several streams"):
        prepared(FILES["vorbis"] + FILES["opus"])
