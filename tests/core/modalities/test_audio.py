"""What the audio modality does to sound files: containers, mix-down, resampling, trimming, windows, padding."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.modalities.sounds import (
    RATE,
    WAVEFORM,
    encoded,
    features,
    prepared,
    sine,
    speechlike,
    waveform,
    without_xing,
)

LOSSLESS = [
    ("WAV", "PCM_16", 2**-15),
    ("WAV", "PCM_24", 2**-23),
    ("WAV", "PCM_32", 2**-23),
    ("WAV", "FLOAT", 2**-23),
    ("WAV", "DOUBLE", 2**-23),
    ("WAVEX", "PCM_24", 2**-23),
    ("WAV", "PCM_U8", 2**-7),
    ("FLAC", "PCM_16", 2**-15),
    ("FLAC", "PCM_24", 2**-23),
]


@pytest.mark.parametrize(("form", "subtype", "step"), LOSSLESS)
def test_lossless_files_give_their_samples_within_one_step(form: str, subtype: str, step: float) -> None:
    sound = speechlike()
    got = waveform(encoded(sound, form, subtype))
    assert got.dtype == np.float32
    assert np.abs(got - sound).max() <= step


def test_same_sound_in_another_container_gives_the_same_features_bit_for_bit() -> None:
    stereo = np.stack([speechlike(), speechlike(seed=1)], axis=1)
    for subtype, bits in (("PCM_16", 16), ("PCM_24", 24)):
        stereo = np.round(stereo * 2 ** (bits - 1)) / 2 ** (bits - 1)  # else each writer rounds in its own way
        wav, wavex, flac = (features(encoded(stereo, form, subtype)) for form in ("WAV", "WAVEX", "FLAC"))
        assert np.array_equal(wav, flac)
        assert np.array_equal(wav, wavex)


@pytest.mark.parametrize(
    ("form", "subtype", "rate", "most"),
    [
        ("OGG", "VORBIS", 16000, 0.1),
        ("OGG", "OPUS", 16000, 0.1),
        ("MP3", None, 16000, 0.1),
        ("MP3", None, 44100, 0.1),
        ("WAV", "ULAW", 16000, 0.03),
        ("WAV", "ALAW", 16000, 0.03),
    ],
)
def test_lossy_files_come_close_and_in_step(form: str, subtype: str | None, rate: int, most: float) -> None:
    sound = speechlike(1.5, rate)
    got = waveform(encoded(sound, form, subtype, rate), rate=rate)
    assert len(got) == len(sound)
    assert np.sqrt(np.mean((got - sound) ** 2)) < most * np.sqrt(np.mean(sound**2))


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_long_mp3_is_read_whole_whatever_the_size_of_blocks(mode: str) -> None:
    """Decoded in several blocks: a decoder that seeks between them would click, or drop what it had in hand."""
    sound = speechlike(20.0)
    data = encoded(sound, "MP3", bitrate_mode=mode, compression_level=0.3)
    got = waveform(data, max_seconds=20.0, ladder_seconds=[20.0])
    assert len(got) == len(sound)
    pieces = np.sqrt(np.mean((got - sound).reshape(200, -1) ** 2, axis=1))
    assert pieces.max() < 5 * np.median(pieces)


def test_mp3_of_constant_bit_rate_needs_no_xing_header() -> None:
    data = without_xing(encoded(speechlike(), "MP3", bitrate_mode="CONSTANT", compression_level=0.3))
    assert b"Info" not in data
    assert abs(len(waveform(data)) - RATE) < 3000


def test_tags_around_an_mp3_are_no_sound() -> None:
    data = encoded(speechlike(), "MP3")
    tag = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048)
    assert np.array_equal(waveform(tag + data + b"TAG" + bytes(125)), waveform(data))


def test_stereo_is_mixed_to_the_mean_of_its_channels() -> None:
    left, right = speechlike(), sine(1000.0, level=0.2)
    both = encoded(np.stack([left, right], axis=1), subtype="FLOAT")
    assert np.abs(waveform(both) - (left + right) / 2).max() < 1e-6
    left_only = encoded(np.stack([left, np.zeros_like(left)], axis=1), subtype="FLOAT")
    assert np.abs(waveform(left_only) - left / 2).max() < 1e-6
    eight = encoded(np.stack([left] * 8, axis=1), subtype="FLOAT")
    assert np.abs(waveform(eight) - left).max() < 1e-6


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 384000])
def test_resampled_sine_keeps_its_frequency_level_and_place(rate: int) -> None:
    got = prepared(encoded(sine(1000.0, rate=rate), subtype="FLOAT", rate=rate), **WAVEFORM)
    assert got.notices == ("resampled",)
    samples = got.windows[0]["waveform"]
    assert len(samples) == RATE
    inner = slice(800, -800)  # the filter rings at the ends
    assert np.abs(samples[inner] - sine(1000.0)[inner]).max() < 1e-3


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    mixed = sine(1000.0, rate=44100) + sine(10_000.0, rate=44100)
    samples = waveform(encoded(mixed, subtype="FLOAT", rate=44100))
    assert np.abs(samples[800:-800] - sine(1000.0)[800:-800]).max() < 1e-3


def test_resampling_across_blocks_leaves_no_seam() -> None:
    sound = waveform(
        encoded(sine(1000.0, 5.0, 44100), subtype="FLOAT", rate=44100), max_seconds=5.0, ladder_seconds=[5.0]
    )
    assert np.abs(sound[800:-800] - sine(1000.0, 5.0)[800:-800]).max() < 1e-3


def test_exact_length_at_another_rate_is_not_too_long() -> None:
    for rate in (8000, 11025, 22050, 44100, 48000):
        for seconds in (1.1, 2.0, 2.3, 4.6):  # 2.3 * 8000 is less than 18400 in floating point
            for form in ("WAV", "FLAC"):
                data = encoded(sine(seconds=5.0, rate=rate)[: int(seconds * rate + 1e-6)], form, rate=rate)
                got = waveform(data, max_seconds=seconds, ladder_seconds=[seconds])
                assert abs(len(got) - seconds * RATE) <= 2


def test_file_of_the_declared_rate_is_not_touched() -> None:
    assert prepared(encoded(speechlike())).notices == ()


def test_same_bytes_give_the_same_arrays() -> None:
    for form, rate in (("WAV", 44100), ("OGG", 16000), ("MP3", 44100)):
        data = encoded(speechlike(rate=rate), form, rate=rate)
        assert np.array_equal(features(data), features(bytes(bytearray(data))))
