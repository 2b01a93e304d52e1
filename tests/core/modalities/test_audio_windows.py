"""How long sounds are trimmed, cut, windowed and padded, and what a window says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from app.core.errors import TooLarge
from app.core.modalities.base import Limits, Window
from app.runtime.session import open_session
from tests.core.modalities.sounds import (
    RATE,
    WAVEFORM,
    WINDOWS,
    encoded,
    features,
    modality,
    prepared,
    sine,
    speechlike,
    waveform,
)


def test_trimming_cuts_quiet_ends_and_keeps_the_pause_within() -> None:
    pause = np.zeros(RATE // 2)
    word = sine(seconds=0.4)
    data = encoded(np.concatenate([pause, word, pause, word, pause]) + 0.1, subtype="FLOAT")
    assert len(waveform(data, max_seconds=3.0, ladder_seconds=[3.0])) == 2.3 * RATE
    assert len(waveform(data, trim=40.0)) == 1.3 * RATE


def test_trimming_makes_a_long_file_fit() -> None:
    data = encoded(np.concatenate([np.zeros(3 * RATE), sine()]))
    assert len(waveform(data, trim=40.0)) == RATE
    with pytest.raises(TooLarge):
        prepared(data)


def test_truncate_keeps_the_beginning_and_says_so() -> None:
    sound = speechlike(5.0)
    got = prepared(encoded(sound, subtype="FLOAT"), item={"truncate": True}, **WAVEFORM)
    assert got.notices == ("truncated",)
    assert np.abs(got.windows[0]["waveform"] - sound[: 2 * RATE]).max() < 1e-6
    assert prepared(encoded(speechlike(2.0)), item={"truncate": True}).notices == ()
    assert prepared(encoded(sound), item={"truncate": True}, **WINDOWS).notices == ("truncated",)
    with pytest.raises(TooLarge, match="2 seconds"):
        prepared(encoded(sound), item={"truncate": False})


def test_windows_cover_all_of_a_long_sound_and_the_last_ends_with_it() -> None:
    sound = speechlike(2.7)
    got = prepared(encoded(sound, subtype="FLOAT"), **WAVEFORM, **WINDOWS)
    assert got.notices == ("windowed",)
    starts = [0, RATE // 2, RATE, 3 * RATE // 2, round(1.7 * RATE)]
    assert len(got.windows) == len(starts)
    for window, start in zip(got.windows, starts, strict=True):
        assert np.abs(window["waveform"] - sound[start : start + RATE]).max() < 1e-6
    assert prepared(encoded(speechlike(2.0)), **WINDOWS).notices == ()


def test_windows_of_features_are_frames_of_the_whole_item() -> None:
    data = encoded(speechlike(2.7))
    whole = features(data, max_seconds=2.7, ladder_seconds=[2.7])
    windows = prepared(data, **WINDOWS).windows
    assert {window["features"].shape for window in windows} == {(98, 40)}
    for window, start in zip(windows, [0, 50, 100, 150, len(whole) - 98], strict=True):
        assert np.array_equal(window["features"], whole[start : start + 98])


def test_frames_are_those_that_fit_wholly() -> None:
    for samples, frames in ((1600, 8), (1679, 8), (1680, 9), (16000, 98)):
        assert len(features(encoded(speechlike()[:samples]))) == frames


def test_each_length_goes_to_the_smallest_bucket_that_holds_it() -> None:
    sound = modality()
    buckets = [
        sound.bucket(sound.prepare({"bytes": encoded(speechlike(seconds))}, Limits()).windows[0])
        for seconds in (0.1, 0.5, 0.51, 1.0, 1.3, 2.0)
    ]
    assert buckets == [48, 48, 98, 98, 198, 198]


@pytest.mark.parametrize("params", [{}, WAVEFORM, WINDOWS])
def test_examples_have_one_window_for_each_bucket_and_its_full_length(params: dict[str, Any]) -> None:
    sound = modality(**params)
    examples = sound.examples()
    buckets = [sound.bucket(window) for window in examples]
    assert len(set(buckets)) == len(examples) == 3
    for window in examples:
        batch = sound.collate([window, window])
        assert set(batch) == set(window)
        assert all(
            array.dtype == np.float32 and array.shape[:2] == (2, len(window["mask"])) for array in batch.values()
        )
        assert np.isfinite(window[sound.input]).all()


def masked_mean(source: str, bands: int | None) -> bytes:
    """A graph that averages what the mask allows: (batch, steps[, bands]) -> (batch, bands or 1)."""
    shape: list[str | int | None] = ["batch", "steps"] if bands is None else ["batch", "steps", bands]
    expand = [] if bands is None else [helper.make_node("Unsqueeze", ["mask", "last"], ["spread"])]
    weights = "mask" if bands is None else "spread"
    nodes = [
        *expand,
        helper.make_node("Mul", [source, weights], ["heard"]),
        helper.make_node("ReduceSum", ["heard", "time"], ["total"], keepdims=0 if bands else 1),
        helper.make_node("ReduceSum", ["mask", "time"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "masked_mean",
        [
            helper.make_tensor_value_info(source, TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["batch", "steps"]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", bands or 1])],
        [
            helper.make_tensor("time", TensorProto.INT64, [1], [1]),
            helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("params", [{}, WAVEFORM])
def test_padding_changes_no_embedding_and_a_batch_of_n_equals_n_of_one(params: dict[str, Any]) -> None:
    sound = modality(**params)
    bands = 40 if sound.input == "features" else None
    session = open_session(masked_mean(sound.input, bands), device="cpu", threads=1, external_data=None, tf32=False)
    windows: list[Window] = [
        sound.prepare({"bytes": encoded(speechlike(seconds, seed=seed) + 0.1)}, Limits()).windows[0]
        for seed, seconds in enumerate((1.1, 1.5, 1.99, 2.0))
    ]
    assert len({sound.bucket(window) for window in windows}) == 1
    batch, singles = sound.collate(windows), [sound.collate([window]) for window in windows]
    for name in batch:
        assert np.array_equal(batch[name], np.concatenate([single[name] for single in singles]))
    together = session.run("embedding", batch)
    alone = np.concatenate([session.run("embedding", single) for single in singles])
    assert np.abs(together - alone).max() < 2e-5  # the graph's sums may go in another order
    unpadded = [
        session.run("embedding", {name: array[np.newaxis] for name, array in window.items()}) for window in windows
    ]
    assert np.abs(together - np.concatenate(unpadded)).max() < 2e-5
    means = [np.mean(window[sound.input], axis=0, dtype=np.float64) for window in windows]
    assert np.abs(together - np.stack(means).reshape(together.shape)).max() < 2e-5


@pytest.mark.parametrize("params", [{}, WAVEFORM])
def test_summary_tells_kinds_of_sound_apart_but_not_how_loud_they_are(params: dict[str, Any]) -> None:
    def summary(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        sound = modality(**params)
        return sound.summarize(sound.prepare({"bytes": encoded(samples, subtype="FLOAT")}, Limits()).windows[0])

    voice, hiss = speechlike(), np.random.default_rng(3).normal(0.0, 0.1, RATE)
    assert summary(voice).shape == (5,)
    assert summary(voice).dtype == np.float32
    assert np.abs(summary(voice) - summary(voice / 4)).max() < 0.02
    assert np.abs(summary(voice) - summary(hiss)).max() > 0.3
