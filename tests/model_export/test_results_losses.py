"""The command behind the table of losses and choices of pairs: what it trains, how it goes on, what a pair costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model_export.recipe import read_recipe
from model_export.results import losses, pair_cost
from model_export.results.__main__ import main
from model_export.results.filling import BLOCK
from model_export.training import train as follow
from tests.model_export.test_results_commands import RESULTS
from tests.model_export.tiny_sets import write_tiny_recipe
from tests.model_export.tiny_training import write_drawings

CELLS = [("contrastive", "single"), ("supervised contrastive", "re-mined")]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("drawings"))


@pytest.fixture
def recipe(drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe cut to seconds, its data there, and few of the table's rows."""
    monkeypatch.setenv("TWINSERVE_DATA", str(drawings))
    monkeypatch.setattr(losses, "CELLS", CELLS)
    monkeypatch.setattr(losses, "SEEDS", (2,))
    cut = {"validation_groups": '["Tifinagh"]', "filters": "8", "dimension": "16", "classes": "6"}
    return write_tiny_recipe("measured/losses", tmp_path / "losses.toml", steps="6", check_every="2", **cut)


def rows(told: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("| ")]


def test_a_stopped_command_goes_on_and_ends_in_one_table(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, trained = tmp_path / "runs", []

    def train(own: Path, run: Path) -> None:
        trained.append(run.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        follow(own, run)

    monkeypatch.setattr("model_export.results.losses.train", train)
    command = ["losses", str(recipe), "--out", str(out), "--target", "0.5"]
    assert main(command) == 130
    assert main(command) == 0
    names = ["contrastive-single-2", "supervised-contrastive-re-mined-2"]
    assert trained == [names[0], names[1], names[1]]
    header, _, *body = rows(capsys.readouterr().out)
    assert [tuple(row[:2]) for row in body] == CELLS
    kept = [json.loads((out / name / "accuracy.json").read_text()) for name in names]
    assert [row[2] for row in body] == [f"{one['auc']:.4f} ({one['auc']:.4f} to {one['auc']:.4f})" for one in kept]
    assert all(0.5 < one["auc"] < 1 and 0.05 < one["one_shot"] <= 1 for one in kept)
    assert [row[4] for row in body] == ["2", "2"]  # an untrained encoder is above one half already
    assert [row[header.index("pairs a step")] for row in body] == ["12", "276"]  # of 24 items: each once, and all
    single, remined = (float(row[-1]) for row in body)
    assert single > 5 * remined
    (out / names[0] / "accuracy.json").unlink()
    assert main([*command[:-1], "1"]) == 0
    again = rows(capsys.readouterr().out)[2]
    assert len(trained) == 3
    assert again[2:4] == body[0][2:4]  # measured anew, to the same figures
    assert again[4] == "never"


def test_a_row_is_the_mean_over_seeds_with_their_range_and_the_steps_of_each() -> None:
    outcomes = [
        losses.Outcome(losses.Accuracy(auc, one_shot), steps, active)
        for auc, one_shot, steps, active in (
            (0.90, 0.5, 50, (1.0, 0.5, 0.1)),
            (0.92, 0.7, None, (0.8, 0.3, 0.2)),
            (0.97, 0.6, 150, (0.6, 0.1, 0.0)),
        )
    ]
    row = losses._row(("triplet", "hard"), outcomes, pair_cost.Cost(50.0, 100))
    assert row[2:5] == ("0.9300 (0.9000 to 0.9700)", "0.6000 (0.5000 to 0.7000)", "50, never, 150")
    assert row[5:] == ("80.0%, 30.0%, 10.0%", "50.0", "100", "0.5")


def test_the_runs_differ_by_what_the_table_names_and_by_nothing_else(recipe: Path, tmp_path: Path) -> None:
    base, seen = read_recipe(recipe), []
    for loss, pairs in [(loss, pairs) for loss in losses.LOSSES for pairs in losses.PAIRS]:
        if (pairs, loss) in (("single", "triplet"), ("single", "supervised contrastive")):
            continue
        own = read_recipe(losses._write_recipe(recipe, tmp_path, (loss, pairs), 7))
        assert own.loss.name == loss.replace(" ", "_")
        assert own.seed == 7
        assert (own.sampler.remined_share > 0) == (pairs == "re-mined")
        seen.append((own.loss.name, own.miner.name, own.sampler.remined_share))
        varied = {"seed", "loss", "miner", "sampler"}
        assert own.model_dump(exclude=varied) == base.model_dump(exclude=varied)
        fewer = {"remined_share", "neighbours"}
        assert own.sampler.model_dump(exclude=fewer) == base.sampler.model_dump(exclude=fewer)
    assert len(set(seen)) == len(seen) == 13


def test_a_recipe_that_cannot_be_varied_or_timed_is_refused_before_any_training(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for old, new, said in (
        ("threads = 1", "threads = 2", "compute.threads"),
        ('[miner]\nname = "none"\n', "", "the sections loss, miner and sampler"),
    ):
        other = tmp_path / "other.toml"
        other.write_text(recipe.read_text("utf-8").replace(old, new), "utf-8")
        assert main(["losses", str(other), "--out", str(tmp_path / "runs")]) == 1
        assert said in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/"))


class Steps:
    """A trainer whose steps take so many seconds of a clock that the test drives."""

    clock = 0.0

    def __init__(self, recipe: Path, seconds: float, before_a_round: float) -> None:
        self.recipe, self.seconds, self.before = read_recipe(recipe), seconds, before_a_round
        self.last = (torch.zeros(10, 2), torch.zeros(10))
        self.waiting = 0.0

    def start_round(self, _number: int) -> None:
        self.waiting = self.before

    def step(self, _number: int, _steps: int) -> None:
        Steps.clock += self.seconds + self.waiting
        self.waiting = 0.0


def test_what_mining_anew_costs_is_shared_out_over_the_steps_of_a_round(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = losses._write_recipe(recipe, tmp_path, ("contrastive", "single"), 1)
    trainers = [Steps(recipe, 0.04, 0.0), Steps(recipe, 0.04, 1.0), Steps(single, 0.05, 0.0)]
    monkeypatch.setattr(pair_cost, "_begin", lambda _runs, _items: trainers)
    monkeypatch.setattr("model_export.results.pair_cost.time.process_time", lambda: Steps.clock)
    costs = pair_cost.measure_costs([], trainers)  # type: ignore[arg-type]
    assert [cost.step_ms for cost in costs] == pytest.approx([40, 40 + 1000 / 2, 50])  # two steps a round
    assert [cost.pairs for cost in costs] == [45, 45, 5]


def test_the_page_shows_every_loss_with_every_choice_of_pairs() -> None:
    (table,) = [found["table"] for found in BLOCK.finditer(RESULTS.read_text("utf-8")) if "losses" in found["command"]]
    assert [tuple(row[:2]) for row in rows(table)[2:]] == list(losses.CELLS)
