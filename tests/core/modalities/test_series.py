"""What the series modality does to sound series: rates, gaps, normalisation, windows, padding."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from app.core.bundle.contents import dump_golden, load_golden
from app.core.modalities import create
from app.core.modalities.base import Limits
from tests.core.modalities.recordings import (
    PARAMS,
    PEN,
    RATE,
    REFUSE_LONG,
    Numbers,
    ecg,
    encoder,
    masked_graph,
    prepared,
    reference,
    series_bundle,
    steps,
)

FILL: dict[str, Any] = {"gaps": "interpolate", "max_gap": 8}


def sine(hertz: float, rate: float, seconds: float = 4.0) -> Numbers:
    time = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * hertz * time), np.cos(2 * np.pi * hertz * time)], axis=1)


def with_gaps(numbers: Numbers, *gaps: tuple[int, int, int]) -> list[list[float | None]]:
    """The rows, null from start to stop of a channel for each (channel, start, stop)."""
    rows: list[list[float | None]] = numbers.tolist()
    for channel, start, stop in gaps:
        for step in range(start, stop):
            rows[step][channel] = None
    return rows


def test_numbers_at_the_rate_of_the_graph_arrive_as_they_are() -> None:
    got = prepared(ecg())
    assert got.notices == ()
    assert np.array_equal(steps(ecg()), ecg().astype(np.float32))
    assert np.array_equal(steps(ecg(), rate=250), steps(ecg()))


def test_whole_numbers_and_fractions_mean_the_same() -> None:
    rows = np.random.default_rng(0).integers(-500, 500, (300, 2))
    assert np.array_equal(steps(rows), steps(rows.astype(np.float64)))
    assert steps([[2**70, 1.5]] + [[1, 2]] * 200)[0].tolist() == [float(2**70), 1.5]


def test_same_item_gives_the_same_arrays_whatever_was_prepared_between() -> None:
    modality = create("series", PARAMS | FILL | {"normalisation": "per_item"}, {})
    item = {"values": with_gaps(ecg(12.0, 360.0), (1, 30, 35)), "rate": 360}
    first = modality.prepare(item, Limits())
    modality.prepare({"values": ecg(3.0, 77.0, seed=3).tolist(), "rate": 77.0}, Limits())
    second = modality.prepare(item, Limits())
    assert first.notices == second.notices == ("interpolated", "resampled", "windowed")
    for one, other in zip(first.windows, second.windows, strict=True):
        assert one["values"].tobytes() == other["values"].tobytes()
        assert one["mask"].tobytes() == other["mask"].tobytes()


def test_item_is_left_as_it_was() -> None:
    item = {"values": with_gaps(ecg(4.0, 500.0), (0, 10, 12)), "rate": 500.0}
    before = [list(row) for row in item["values"]]  # type: ignore[attr-defined]
    create("series", PARAMS | FILL, {}).prepare(item, Limits())
    assert item["values"] == before


@pytest.mark.parametrize("rate", [62.5, 100, 128.0, 200.0, 360, 500, 999.9, 1000.0])
@pytest.mark.parametrize("count", [500, 501, 997])
def test_resampled_series_has_as_many_steps_as_its_duration_calls_for(rate: float, count: int) -> None:
    got = prepared(
        np.random.default_rng(1).normal(size=(count, 2)),
        rate=rate,
        **(REFUSE_LONG | {"max_steps": 5000, "ladder": [5000]}),
    )
    assert got.notices == ("resampled",)
    assert got.windows[0]["mask"].sum() == np.floor(count * RATE / rate + 0.5)


@pytest.mark.parametrize("rate", [100.0, 128.0, 360.0, 500.0, 1000.0])
def test_resampled_sine_keeps_its_frequency_phase_and_height(rate: float) -> None:
    got = steps(sine(7.0, rate), rate=rate)
    np.testing.assert_allclose(got[100:-100], sine(7.0, RATE)[100:-100], atol=5e-4)


def test_frequencies_above_the_new_half_rate_are_removed_not_folded_down() -> None:
    high = sine(190.0, 1000.0)  # would fold to 60 Hz at 250
    low = sine(10.0, 1000.0)
    got = steps(low + high, rate=1000.0)
    np.testing.assert_allclose(got[100:-100], sine(10.0, RATE)[100:-100], atol=1e-3)
    power = np.abs(np.fft.rfft(got[100:-100, 0] * np.hanning(800)))
    bins = np.fft.rfftfreq(800, 1 / RATE)
    assert power[np.abs(bins - 60) < 3].max() < 1e-4 * power.max()


def test_ecg_of_any_rate_becomes_the_same_ecg() -> None:
    for rate in (360.0, 500.0, 1000.0):
        np.testing.assert_allclose(steps(ecg(4.0, rate), rate=rate)[25:-25], ecg()[25:-25], atol=0.01)


def test_resampling_leaves_a_level_and_a_slope_alone_up_to_both_ends() -> None:
    """A plain resampler takes what lies beyond the ends for zeros and rings there, by a fifth of the level."""
    for rate in (100.0, 360.0, 1000.0):
        time = np.arange(round(4 * rate)) / rate
        got = steps(np.stack([9.81 + 0 * time, 40 - 3 * time], axis=1), rate=rate)
        expected = np.arange(1000) / RATE
        np.testing.assert_allclose(got[:, 0], 9.81, atol=1e-5)
        np.testing.assert_allclose(got[:, 1], 40 - 3 * expected, atol=1e-4)


def test_gaps_are_drawn_as_lines_and_edges_held() -> None:
    ramp = np.stack([np.arange(200.0), 5 - np.arange(200.0) / 4], axis=1)
    rows = with_gaps(ramp, (0, 50, 58), (1, 54, 56), (0, 0, 3), (1, 195, 200))
    expected = ramp.copy()
    expected[:3, 0], expected[195:, 1] = ramp[3, 0], ramp[194, 1]
    got = prepared(rows, **FILL)
    assert got.notices == ("interpolated",)
    np.testing.assert_allclose(got.windows[0]["values"][:200], expected, rtol=1e-6)


def test_longest_gap_is_a_time_whatever_the_rate_of_the_item() -> None:
    """8 steps at 250 Hz are 32 at 1000 Hz and 3 at 100 Hz."""
    assert prepared(with_gaps(ecg(4.0, 1000.0), (0, 100, 132)), rate=1000.0, **FILL).windows
    assert prepared(with_gaps(ecg(4.0, 100.0), (0, 100, 103)), rate=100.0, **FILL).windows


def test_declared_normalisation_is_the_manifests_whatever_the_item() -> None:
    stroke = [[10.0, -5.0, 0.5], [14.0, -3.0, 0.75], [2.0, -9.0, 0.0], [10.0, -5.0, 1.0]]
    expected = [[0, 0, 0], [1, 1, 1], [-2, -2, -2], [0, 0, 2]]
    assert steps(stroke, base=PEN).tolist() == expected


def test_per_item_normalisation_is_by_channel_over_the_whole_item() -> None:
    numbers = ecg(10.0) * [1.0, 50.0] + [3.0, -700.0]
    expected = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    got = prepared(numbers, normalisation="per_item")
    assert len(got.windows) == 5
    np.testing.assert_allclose(got.windows[0]["values"], expected[:1000], atol=1e-5)
    np.testing.assert_allclose(got.windows[-1]["values"], expected[-1000:], atol=1e-5)


def test_per_item_normalisation_forgets_unit_and_offset_and_no_other_does() -> None:
    other = ecg() * 1000 + 40
    np.testing.assert_allclose(
        steps(other, normalisation="per_item"), steps(ecg(), normalisation="per_item"), atol=1e-4
    )
    assert np.abs(steps(other) - steps(ecg())).max() > 100


@pytest.mark.parametrize("length", [1001, 1399, 1400, 1401, 1800, 2345, 4999, 5000])
@pytest.mark.parametrize("hop", [137, 400, 1000])
def test_windows_cover_every_step_of_a_long_series_and_none_is_padded(length: int, hop: int) -> None:
    numbers = np.stack([np.arange(length), np.ones(length)], axis=1)
    got = prepared(numbers, hop_steps=hop)
    assert got.notices == ("windowed",)
    starts = [int(window["values"][0, 0]) for window in got.windows]
    for start, window in zip(starts, got.windows, strict=True):
        assert np.array_equal(window["values"], numbers[start : start + 1000].astype(np.float32))
        assert window["mask"].all()
    assert starts[:-1] == list(range(0, length - 1000, hop))
    assert starts[-1] == length - 1000
    assert set().union(*(range(start, start + 1000) for start in starts)) == set(range(length))


def test_series_of_exactly_one_window_is_no_long_one() -> None:
    assert prepared(np.resize(ecg(), (1000, 2))).notices == ()


@pytest.mark.parametrize(("length", "padded"), [(100, 250), (249, 250), (250, 250), (251, 500), (1000, 1000)])
def test_windows_are_padded_to_the_next_length_of_the_ladder_and_no_further(length: int, padded: int) -> None:
    modality = create("series", PARAMS, {})
    (window,) = modality.prepare({"values": ecg()[:length].tolist()}, Limits()).windows
    assert window["values"].shape == (padded, 2)
    assert window["mask"].sum() == length
    assert modality.bucket(window) == padded


def test_examples_are_one_window_a_bucket_and_collate_with_real_ones() -> None:
    modality = create("series", PARAMS, {})
    examples = modality.examples()
    assert [modality.bucket(window) for window in examples] == PARAMS["ladder"]
    (window,) = modality.prepare({"values": ecg()[:400].tolist()}, Limits()).windows
    batch = modality.collate([examples[1], window])
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        "values": ((2, 500, 2), np.dtype(np.float32)),
        "mask": ((2, 500), np.dtype(np.float32)),
    }
    assert np.array_equal(batch["values"][1], window["values"])


def test_padding_changes_no_embedding() -> None:
    """One item under ladders that pad it by nothing and by a lot, through a real graph, against plain numpy."""
    graph = masked_graph()
    items = [
        {"values": ecg(seconds, seed=seed).tolist()} for seed, seconds in enumerate((0.4, 0.8, 1.0, 1.3, 2.0, 3.9))
    ]
    expected = np.stack([reference(np.array(item["values"], dtype=np.float32)) for item in items])
    for ladder in ([100, 200, 250, 325, 500, 975, 1000], [250, 500, 1000], [1000]):
        got = encoder(graph, ladder=ladder).embed(items, Limits())
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


def test_a_graph_that_ignores_the_mask_would_be_noticed() -> None:
    item = {"values": ecg(0.5).tolist()}
    tight, loose = (
        encoder(masked_graph(masked=False), ladder=ladder).embed([item], Limits()) for ladder in ([125, 1000], [1000])
    )
    assert np.abs(tight - loose).max() > 0.01


def test_a_batch_of_n_gives_what_n_batches_of_one_give() -> None:
    net = encoder(masked_graph())
    items: list[dict[str, Any]] = [
        {"values": ecg(0.5 + seed * 0.7, rate, seed=seed).tolist(), "rate": rate}
        for seed, rate in enumerate((250.0, 100.0, 360.0, 500.0, 1000.0, 250.0, 250.0, 125.0, 250.0, 400.0))
    ]
    together = net.embed(items, Limits())
    for row, item in zip(together, items, strict=True):
        np.testing.assert_allclose(row, net.embed([item], Limits())[0], rtol=0, atol=1e-6)


def test_long_recording_is_one_embedding_near_that_of_its_parts() -> None:
    net = encoder(masked_graph())
    long, short, other = (
        net.embed([{"values": ecg(s, seed=k).tolist()}], Limits())[0] for s, k in ((18, 1), (4, 1), (4, 2))
    )
    assert long @ short > 0.9999
    assert long @ short > long @ other


def test_bundle_of_series_keeps_its_golden_items_and_replays_them() -> None:
    bundle = series_bundle(masked_graph())
    stored = load_golden(dump_golden(bundle.golden), bundle.manifest)
    assert dict(stored.items[0]) == dict(bundle.golden.items[0])
    encoder(masked_graph()).replay_golden()


def test_series_need_no_library_of_another_modality() -> None:
    code = (
        "import sys; from app.core.modalities import create; "
        f"modality = create('series', {PEN!r}, {{}}); assert (modality.form, modality.media_types) == ('values', ()); "
        "assert not {'PIL', 'soundfile', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_summary_tells_an_ecg_from_noise_hum_and_a_square_wave() -> None:
    modality = create("series", PARAMS | {"normalisation": "per_item"}, {})

    def summary(numbers: Numbers) -> Any:
        return modality.summarize(modality.prepare({"values": numbers.tolist()}, Limits()).windows[0])

    noise = np.random.default_rng(0).normal(size=(1000, 2))
    _, spread, rough, flatness, above = summary(noise)
    np.testing.assert_allclose([rough, flatness, above], [1.128, 0.798, 0.5], atol=0.03)
    assert spread == pytest.approx(np.arcsinh(1.0), abs=1e-5)
    np.testing.assert_allclose(summary(np.sign(sine(2.0, RATE) + 1e-9))[3:], [1.0, 0.5], atol=0.01)
    heart = summary(ecg())
    assert heart.shape == (5,)
    assert heart.dtype == np.float32
    assert heart[2] < 0.4
    assert heart[3] < 0.75
    assert summary(-ecg())[4] > 0.5 > heart[4]


def test_summary_does_not_see_padding() -> None:
    tight, loose = (create("series", PARAMS | {"ladder": ladder}, {}) for ladder in ([300, 1000], [1000]))
    item = {"values": ecg()[:300].tolist()}
    one, other = (m.summarize(m.prepare(item, Limits()).windows[0]) for m in (tight, loose))
    assert np.array_equal(one, other)
