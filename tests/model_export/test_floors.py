"""Comparisons without learning give what is worked out by hand, and are measured as bundles are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.core.modalities.base import Item
from app.core.scoring import similarity_matrix
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.floors import FITS
from model_export.floors.heartbeats import log_spectrum, mean_beat
from model_export.floors.subject import Floor
from model_export.floors.warping import rows_apart, warp_all, warp_distances
from model_export.recipe import Recipe, read_recipe
from model_export.results.__main__ import main
from model_export.results.compare import compare_on_pairs, make_subjects
from model_export.results.nearest import nearest_accuracy

UCR = Path("recipes/measured/ucr.toml")
RATE = 250


def column(*numbers: float) -> npt.NDArray[np.float32]:
    return np.array(numbers, np.float32)[:, np.newaxis]


def test_warping_sums_squares_along_the_best_path_over_both_lengths() -> None:
    # 0 0 1 against 0 1: both zeros go with the zero; 0 2 against 0 1: the end costs 1; 3 against 0 1: 9 + 4
    others = [column(0, 1), column(0, 0, 1), column(5)]
    assert warp_distances(column(0, 0, 1), others) == pytest.approx([0, 0, (25 + 25 + 16) / 4])
    assert warp_distances(column(0, 2), [column(0, 1)]) == pytest.approx([1 / 4])
    assert warp_distances(column(3), [column(0, 1)]) == pytest.approx([13 / 3])


def test_warping_agrees_with_the_definition_for_sequences_of_any_length_and_several_channels() -> None:
    generator = np.random.default_rng(0)
    sequences = [generator.normal(size=(steps, 3)).astype(np.float32) for steps in (1, 2, 5, 9, 9, 12)]
    expected = [[define(one, other) for other in sequences] for one in sequences]
    assert warp_all(sequences) == pytest.approx(np.array(expected), rel=1e-5, abs=1e-6)


def define(one: Any, other: Any) -> float:
    total = np.full((len(one) + 1, len(other) + 1), np.inf)
    total[0, 0] = 0
    for i, left in enumerate(one):
        for j, right in enumerate(other):
            total[i + 1, j + 1] = ((left - right) ** 2).sum() + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return float(total[-1, -1] / (len(one) + len(other)))


def test_rows_keep_the_order_of_distances_that_break_the_triangle_inequality() -> None:
    distances = np.array([[0, 1, 50, 2], [1, 0, 3, 7], [50, 3, 0, 4], [2, 7, 4, 0]], np.float64)
    rows = rows_apart(distances)
    scores = similarity_matrix(rows, rows, "euclidean")
    upper = np.triu_indices(4, k=1)
    assert np.argsort(-scores[upper]).tolist() == np.argsort(distances[upper]).tolist()
    assert np.ptp(scores[upper].astype(np.float64) ** 2 - distances[upper]) < 1e-4


def pulses(width: float, every: float, seconds: float = 10.0) -> npt.NDArray[np.float64]:
    """A train of narrow double pulses, one after `every` seconds, on a slow wave."""
    time = np.arange(round(seconds * RATE)) / RATE
    nearest = (time + every / 2) % every - every / 2
    wave = np.sin(2 * np.pi * 0.2 * time)
    return np.asarray(np.exp(-((nearest / width) ** 2)) - 0.5 * np.exp(-(((nearest - 0.1) / width) ** 2)) + wave)


def test_the_mean_beat_is_the_same_at_another_pace_and_another_rate_and_tells_shapes_apart() -> None:
    beat = mean_beat(pulses(0.02, 0.8), RATE)
    assert beat @ beat == pytest.approx(1)
    assert beat.mean() == pytest.approx(0, abs=1e-12)
    assert beat @ mean_beat(pulses(0.02, 0.9), RATE) > 0.98
    assert beat @ mean_beat(3 * pulses(0.02, 0.8)[::2], RATE / 2) > 0.98
    assert beat @ mean_beat(pulses(0.05, 0.8), RATE) < 0.95


def test_the_spectrum_tells_paces_apart_and_not_loudness() -> None:
    spectrum = log_spectrum(pulses(0.02, 0.8), RATE)
    assert spectrum @ log_spectrum(5 * pulses(0.02, 0.8), RATE) == pytest.approx(1)
    assert spectrum @ log_spectrum(pulses(0.02, 0.55), RATE) < 0.9


def test_texts_that_share_letters_are_more_alike_and_one_without_any_known_has_a_row() -> None:
    texts = ["pay my bill", "paying the bills", "sunny weekend", ""]
    floor = Floor("characters", None)
    rows = floor.embed([{"text": text} for text in texts]).vectors
    assert np.square(rows).sum(axis=1) == pytest.approx(1)
    scores = 1 - np.square(similarity_matrix(rows, rows, floor.metric)) / 2  # the cosine of rows of length 1
    assert scores[0, 1] > 0.2
    assert [*scores[:2, 2], *scores[3, :3]] == pytest.approx([0] * 5, abs=1e-6)


def test_euclidean_is_that_of_the_prepared_steps_and_stretches_shorter_ones() -> None:
    floor = Floor("euclidean", series_recipe().modality)
    items = [{"values": column(*numbers).tolist()} for numbers in ([0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 2, 4, 6, 8])]
    rows = floor.embed([items[0], {"values": column(1, 1, 2, 3, 4, 5, 6, 7, 8).tolist()}, items[1]]).vectors
    assert rows[0] == pytest.approx(np.arange(9))
    assert similarity_matrix(rows, rows, "euclidean")[0] == pytest.approx([0, -1, 0])


def series_recipe(**changes: Any) -> Recipe:
    """The measured recipe of one channel, its steps as they are, from two steps on."""
    recipe = read_recipe(UCR)
    params = recipe.modality.params | {"min_steps": 2, "normalisation": "none"} | changes
    return recipe.model_copy(update={"modality": recipe.modality.model_copy(update={"params": params})})


def test_what_the_modality_refuses_is_counted_and_left_out() -> None:
    floor = Floor("dtw", series_recipe().modality)
    rows = floor.embed([{"values": [[0], [1]]}, {"values": [[0]]}, {"values": [[0], [2]]}, {"values": [[9], [1]]}])
    assert rows.kept.tolist() == [True, False, True, True]
    assert rows.failure_to_acquire == {"unusable_input": 0.25}
    scores = similarity_matrix(rows.vectors, rows.vectors, "euclidean")
    assert scores[0, 1] > scores[0, 2]


def test_the_command_line_knows_every_floor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert f"{{{','.join(FITS)}}}" in re.sub(r"\s", "", capsys.readouterr().out)


def test_floors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CommandError, match="give --recipe"):
        Floor("dtw", None)
    with pytest.raises(CommandError, match="no floor for the modality 'image'"):
        Floor("dtw", read_recipe(Path("recipes/glyphs.toml")).modality)
    with pytest.raises(CommandError, match="no floor for the modality 'series'"):
        Floor("pixels", series_recipe().modality)
    with pytest.raises(CommandError, match="have no 'values'"):
        Floor("beat", None).embed([{"text": "pay"}])
    with pytest.raises(CommandError, match="shorter than a beat"):
        Floor("beat", None).embed([{"values": [[0.0], [1.0]] * 20, "rate": RATE}])
    with pytest.raises(CommandError, match="characters: empty vocabulary"):
        Floor("characters", None).embed([{"text": ""}])
    windowed = series_recipe(long="window", window_steps=4, hop_steps=2, ladder=[4])
    with pytest.raises(CommandError, match="3 windows"):
        Floor("euclidean", windowed.modality).embed([{"values": [[number] for number in range(8)]}])


def test_a_floor_and_another_stand_in_one_table_on_the_same_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"pay bill {number}\tpay the bill {number}\t1" for number in range(12)]
    rows += [f"pay bill {number}\tweather\t0" for number in range(12)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["a\tb\tlabel", *rows]))
    subjects = make_subjects([], ["characters", "characters"], None)
    compare_on_pairs(subjects, tmp_path / "pairs.tsv")
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert table[0].startswith("|  | impostor | units | unit pairs | ROC AUC | EER |")
    assert table[2] == table[3]
    assert re.match(r"\| floor characters \| labelled \| 12 \| 12 \| 1 \[", table[2])


def test_nothing_to_compare_and_two_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="give a bundle, or --floor"):
        make_subjects([], [], None)
    with pytest.raises(CommandError, match="different forms"):
        compare_on_pairs(make_subjects([], ["characters", "beat"], None), tmp_path / "none.tsv")


def test_nearest_takes_the_class_of_the_most_alike_training_series() -> None:
    training = labelled([[0, 0.1], [5, 5], [9, 9]], [0, 1, 1])
    test = labelled([[1, 1], [4, 4], [8, 8], [2, 2]], [0, 1, 1, 1])  # the last one is nearer to class 0
    assert nearest_accuracy(Floor("euclidean", series_recipe(normalisation="none").modality), training, test) == 0.75


def labelled(series: list[list[float]], identity: list[int]) -> LabelledItems:
    number = np.array(identity, np.int64)
    items: list[Item] = [{"values": [[one] for one in [*values, 0.0]]} for values in series]
    return LabelledItems(items, number, number, np.zeros_like(number), np.arange(len(items)), ("set",))
