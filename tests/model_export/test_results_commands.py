"""The commands behind docs/results.md: a set's own pairs, a recipe for each speaker left out, and filling the page."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.core.modalities.base import Item
from model_export.datasets import LabelledItems
from model_export.floors.subject import Floor
from model_export.measure import Embeddings
from model_export.populations import read_splits
from model_export.recipe import read_recipe
from model_export.results import leave_one_out
from model_export.results.__main__ import main
from model_export.results.filling import BLOCK
from model_export.subjects import LocalSubject
from tests.model_export.tiny_sets import SPEAKERS, write_tiny_digits, write_tiny_heartbeats, write_tiny_recipe

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.fixture
def heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of heartbeats whose data is there."""
    write_tiny_heartbeats(tmp_path / "data" / "ecg_id")
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    return write_tiny_recipe("heartbeat", tmp_path / "heartbeat.toml", held_out="16", held_out_several_days="5")


def test_own_pairs_are_of_held_out_people_only_and_can_be_evaluated(
    heartbeats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "data" / "ecg_id", tmp_path / "pairs"
    person = np.load(folder / "ecg_id.npz")["person"].astype(int)
    pairs = [(a, b) for a in range(len(person)) for b in range(a)][::7]
    pairs += [(a, a + 1) for a in range(len(person) - 1) if person[a] == person[a + 1]]
    kind = {True: "same_day", False: "impostor"}
    rows = ["label\ta\tb\tkind"]
    rows += [f"{int(person[a] == person[b])}\t{a}\t{b}\t{kind[bool(person[a] == person[b])]}" for a, b in set(pairs)]
    (folder / "pairs.tsv").write_text("\n".join(rows))
    assert main(["own-pairs", str(heartbeats), "--out", str(out)]) == 0
    held_out = set(read_splits(read_recipe(heartbeats)).calibration.unit.tolist())
    expected = {(a, b) for a, b in pairs if person[a] in held_out and person[b] in held_out}
    assert 0 < len(expected) < len(set(pairs))
    with (out / "same_day.tsv").open(newline="") as file:
        written = list(csv.DictReader(file, delimiter="\t"))
    assert {(int(row["a"][:-5]), int(row["b"][:-5])) for row in written} == expected
    assert all((row["label"] == "1") == (row["unit_a"] == row["unit_b"]) for row in written)
    item = json.loads((out / written[0]["a"]).read_text())
    assert item["rate"] == 500
    assert item["values"][0][0] == np.load(folder / "ecg_id.npz")["signals"][int(written[0]["a"][:-5]), 0, 0] / 200
    capsys.readouterr()
    assert main(["compare", "--floor", "beat", "--floor", "spectrum", "--pairs", str(out / "same_day.tsv")]) == 0
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        "| floor beat",
        "| floor spectrum",
    ]


def test_every_speaker_is_left_out_once_and_trains_no_weights_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_digits(tmp_path / "data" / "fsdd")
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    recipe = write_tiny_recipe("digits", tmp_path / "digits.toml")
    trained: list[tuple[Path, Path]] = []
    # Four real trainings and exports take a minute; the commands behind them have tests of their own.
    monkeypatch.setattr(leave_one_out, "train", lambda own, run, **_: trained.append((own, run)))
    floor = Floor("euclidean", read_recipe(recipe).modality)
    monkeypatch.setattr(leave_one_out, "export_subject", lambda _run, _models: floor)
    assert main(["leave-one-out", str(recipe), "--out", str(tmp_path / "runs")]) == 0
    assert [run.name for _, run in trained] == list(SPEAKERS)
    for own, run in trained:
        data = read_recipe(own).data.model_dump()
        assert data["held_out_speakers"] == (run.name,)
        assert set(data["training_speakers"]) == set(SPEAKERS) - {run.name}
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[0] for row in rows] == [*(f"| {speaker}" for speaker in SPEAKERS), "| mean"]
    numbers = np.array([[float(number) for number in re.findall(r"\d\.\d+", row)] for row in rows])
    assert numbers.shape == (5, 6)
    assert numbers[-1] == pytest.approx(numbers[:-1].mean(axis=0), abs=1e-4)
    assert (numbers[:, 0] > 0.5).all()
    assert (numbers[:, 3] > 0.5).all()


class Levels(LocalSubject):
    """Embeds an item as the number that it holds."""

    def __init__(self) -> None:
        """No bundle."""
        self.metric = "euclidean"

    def embed(self, items: Sequence[Item]) -> Embeddings:
        """All of them."""
        rows = np.array([[item["level"]] for item in items], np.float32)
        return Embeddings(np.ones(len(items), np.bool_), rows, None, None, {})


def labelled(levels: list[float], identity: list[int], unit: list[int]) -> LabelledItems:
    number, whose = np.array(identity, np.int64), np.array(unit, np.int64)
    return LabelledItems([{"level": level} for level in levels], number, whose, whose, whose, ("",))


def test_a_speaker_left_out_is_compared_with_the_others_recordings_each_voice_weighing_the_same() -> None:
    asked, known = labelled([1, 5, 9], [0, 1, 0], [0, 0, 0]), labelled([2, 6], [0, 1], [0, 1])
    auc, eer, right = leave_one_out._measure(Levels(), asked, known)
    # The most alike are 2, 6 and 6, the last of them wrong.
    assert right == pytest.approx(2 / 3)
    # Alike: 1-2 and 9-2 of one voice (distances 1 and 7), 5-6 of the other (1). Unlike: 5-2 of the one (3), 1-6 and 9-6
    # of the other (5 and 3). A quarter of the alike lies beyond all unlike, the rest before.
    assert auc == pytest.approx(3 / 4)
    assert 0 < eer < 0.5


def test_both_are_for_their_own_data(heartbeats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leave-one-out", str(heartbeats), "--out", str(tmp_path)]) == 1
    assert "this is for fsdd" in capsys.readouterr().err
    digits = write_tiny_recipe("digits", tmp_path / "digits.toml")
    assert main(["own-pairs", str(digits), "--out", str(tmp_path)]) == 1
    assert "only ecg_id has its own pairs" in capsys.readouterr().err


def test_a_page_is_filled_with_what_its_commands_print_and_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\tlabel\none\tones\t1\ntwo\ttwos\t1\none\ttwos\t0\n")
    command = f"python -m model_export.results compare --floor characters \\\n    --pairs {tmp_path / 'pairs.tsv'}"
    other = "```sh\npython -m model_export train recipe.toml\n```\n\nwords\n"
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n```sh\n{command}\n```\n\n| old |\n| --- |\n\n{other}")
    assert main(["fill", str(page), "--matching", "no such text"]) == 0
    assert "| old |" in page.read_text()
    assert main(["fill", str(page)]) == 0
    text = page.read_text()
    assert "| old |" not in text
    assert re.search(r"```\n\n\|  \| impostor .*\n\| --- .*\n\| floor characters \| labelled .*\n\n```sh", text)
    assert text.startswith("# Page\n")
    assert text.endswith(other)


def test_a_page_whose_command_fails_or_is_another_program_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    for command, said in {
        "python -m model_export.results compare --floor characters --pairs none.tsv": "status 1",
        "rm -r everything": "no command of this program",
    }.items():
        page.write_text(f"```sh\n{command}\n```\n\n| old |\n")
        assert main(["fill", str(page)]) == 1
        assert said in capsys.readouterr().err
        assert "| old |" in page.read_text()


def test_every_table_of_the_results_page_stands_below_its_command() -> None:
    text = RESULTS.read_text("utf-8")
    blocks = [found["command"] for found in BLOCK.finditer(text)]
    assert len(blocks) >= 10
    assert len(re.findall(r"(?m)^\| --- \|", text)) == len(blocks)
    assert all(command.startswith("python -m model_export") for command in blocks)
