"""What the audio modality does to sounds that it cannot or must not take: one documented error, never another."""

from __future__ import annotations

import threading
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from app.core.errors import TooLarge, TwinserveError, UnusableInput
from app.core.modalities.base import Limits
from tests.core.modalities.sounds import (
    FILES,
    RATE,
    WAVEFORM,
    WINDOWS,
    encoded,
    features,
    flac_declaring,
    modality,
    prepared,
    sine,
    speechlike,
    wav_header,
    waveform,
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello, I am no sound at all", "no WAV"),
        (b"\x00" * 4096, "no WAV"),
        (b"\xff" * 4096, "no WAV"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 100, "no WAV"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "no WAV"),
        (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", "no WAV"),
        (b"ID3\x04\0\0\0\0\0\0" * 5000, "no WAV"),
        (encoded(speechlike(), "AIFF"), "no WAV"),
        (encoded(speechlike(), "RF64"), "no WAV"),
        (b"ID3\x04\0\0\0\0\0\0" + encoded(speechlike(), "AIFF"), "no WAV"),
        (encoded(speechlike(), "WAV", "IMA_ADPCM"), "coded"),
        (encoded(np.zeros(0), "WAV"), "no samples"),
        (b"RIFF\x24\0\0\0WAVE", "damaged"),
        (b"fLaC", "damaged"),
        (b"OggS", "damaged"),
        (wav_header(0xFFFFFFFF // 2 + 1)[:-1], "damaged|too short|no samples"),
    ],
)
def test_what_is_no_sound_is_named_as_such(data: bytes, words: str) -> None:
    with pytest.raises(UnusableInput, match=words):
        prepared(data)


def test_wav_written_to_a_pipe_is_told_from_a_cut_one() -> None:
    data = bytearray(encoded(speechlike()))
    data[40:44] = b"\xff" * 4
    with pytest.raises(UnusableInput, match="pipe"):
        prepared(bytes(data))


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.05])
def test_too_short_sound_is_refused_with_the_length_needed(seconds: float) -> None:
    samples = speechlike()[: max(1, round(seconds * RATE))]
    for rate in (8000, 16000, 48000):
        for form in ("WAV", "FLAC"):
            with pytest.raises(UnusableInput, match=r"at least 0\.1 seconds"):
                prepared(encoded(samples[: len(samples) // 2 + 1], form, rate=rate))


SILENT = {
    "zeros": np.zeros(RATE),
    "an offset": np.full(RATE, 0.5),
    "the last bit": np.random.default_rng(0).integers(-1, 2, RATE) / 32768,
    "opposite channels": np.stack([sine(), -sine()], axis=1),
}


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("params", [{}, {"trim": 40.0}, WINDOWS, WAVEFORM])
def test_silence_is_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(UnusableInput, match="silent"):
        prepared(encoded(SILENT[name]), **params)


def test_silence_is_judged_at_the_declared_level_about_the_mean() -> None:
    for offset in (0.0, 0.4):
        quiet = sine(level=10 ** (-61 / 20) * np.sqrt(2)) + offset
        audible = sine(level=10 ** (-59 / 20) * np.sqrt(2)) + offset
        with pytest.raises(UnusableInput, match="silent"):
            prepared(encoded(quiet, subtype="FLOAT"))
        prepared(encoded(audible, subtype="FLOAT"))


def test_what_truncate_cuts_off_cannot_make_up_for_silence() -> None:
    late = np.concatenate([np.zeros(2 * RATE), sine()])
    with pytest.raises(UnusableInput, match="silent"):
        prepared(encoded(late), item={"truncate": True})


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8", "ULAW", "ALAW"])
def test_clipped_sound_is_refused_and_loud_sound_is_not(subtype: str) -> None:
    with pytest.raises(UnusableInput, match="clipped"):
        prepared(encoded(np.clip(sine(level=1.2), -1, 1), subtype=subtype))
    prepared(encoded(sine(level=0.9), subtype=subtype))


def test_clipping_of_one_channel_is_not_hidden_by_the_other() -> None:
    data = encoded(np.stack([np.clip(sine(level=2.0), -1, 1), np.zeros(RATE)], axis=1))
    with pytest.raises(UnusableInput, match="clipped"):
        prepared(data)
    prepared(data, clipping_share=0.9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 17.0])
def test_samples_that_are_no_sound_are_refused_wherever_they_stand(value: float) -> None:
    for place in (0, RATE // 2, RATE - 1):
        for subtype in ("FLOAT", "DOUBLE"):
            samples = speechlike()
            samples[place] = value
            with pytest.raises(UnusableInput, match="not finite"):
                prepared(encoded(samples, subtype=subtype))


def test_rates_and_channels_out_of_all_bounds_are_refused() -> None:
    for rate in (1000, 3999, 384_001, 1_000_000):
        with pytest.raises(UnusableInput, match="samples a second"):
            prepared(encoded(speechlike(), rate=rate), max_seconds=100.0, ladder_seconds=[100.0])
    with pytest.raises(UnusableInput, match="9 channels"):
        prepared(encoded(np.stack([speechlike()] * 9, axis=1)))


@pytest.fixture(scope="module")
def zeros_flac() -> bytes:
    """Half an hour of zeros in 8 channels: a few kilobytes a minute, 230 million samples."""
    return encoded(np.zeros((1800 * RATE, 8), dtype=np.int16), "FLAC", "PCM_16")


@pytest.mark.parametrize("declared", [True, False])
def test_bomb_of_zeros_stops_at_the_limit_in_little_memory(zeros_flac: bytes, declared: bool) -> None:
    assert len(zeros_flac) < 1_000_000
    data = zeros_flac if declared else flac_declaring(zeros_flac, 0)
    sound = modality(**WINDOWS)
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(TooLarge):
        sound.prepare({"bytes": data}, Limits(max_seconds=60.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - began < 5
    assert peak < 64 * 2**20


@pytest.mark.parametrize("declared", [True, False])
def test_many_channels_at_a_high_rate_count_as_the_samples_they_are(declared: bool) -> None:
    def many(seconds: float) -> bytes:
        data = encoded(np.tile(sine(seconds=1, rate=384_000)[:, np.newaxis], (int(seconds), 8)), "FLAC", rate=384_000)
        return data if declared else flac_declaring(data, 0)

    short, long = many(1), many(4)
    prepared(short, Limits(max_seconds=60.0), **WINDOWS)
    with pytest.raises(TooLarge, match=r"at most 3\.75 seconds of its rate and channels"):
        prepared(long, Limits(max_seconds=60.0), **WINDOWS)


def test_bytes_beyond_the_limit_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="999 are taken"):
        prepared(FILES["wav"], Limits(max_body_bytes=999))
    prepared(FILES["wav"], Limits(max_body_bytes=len(FILES["wav"])))


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_limit_in_seconds_holds_for_every_format_windowed_or_cut(form: str) -> None:
    data = encoded(speechlike(4.0), form)
    prepared(data, Limits(max_seconds=4.0), **WINDOWS)
    for item, params in (({}, WINDOWS), ({"truncate": True}, {}), ({}, {"trim": 40.0})):
        with pytest.raises(TooLarge, match=r"3\.9 seconds"):
            prepared(data, Limits(max_seconds=3.9), item=item, **params)


def test_no_error_repeats_what_the_file_holds() -> None:
    secret = b"patient-4711"
    for data in (secret * 100, b"RIFF\0\0\0\0WAVE" + secret, b"fLaC" + secret * 9, b"OggS" + secret * 9):
        with pytest.raises(TwinserveError) as caught:
            prepared(data)
        assert "4711" not in caught.value.detail


def test_threads_share_one_modality() -> None:
    sound = modality(**WAVEFORM)
    data = [encoded(speechlike(seed=seed, rate=44100), "MP3", rate=44100) for seed in range(4)]
    alone = [waveform(each) for each in data]
    wrong: list[int] = []

    def work(place: int) -> None:
        for _ in range(5):
            got = sound.prepare({"bytes": data[place]}, Limits()).windows[0]["waveform"]
            if not np.array_equal(got, alone[place]):
                wrong.append(place)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_tags_of_an_mp3_are_not_read_and_write_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """libmpg123 wrote a line for each frame of an ID3 tag that it could not read: three million in one file."""
    plain = FILES["mp3"]
    frames = b"TIT2\0\0\0\x01\0\0a" * 1000
    size = bytes(len(frames) >> shift & 127 for shift in (21, 14, 7, 0))
    tagged = b"ID3\x04\0\0" + size + frames + plain + b"TAG" + b"x" * 125
    assert np.array_equal(features(tagged), features(plain))
    assert capfd.readouterr().err == ""
