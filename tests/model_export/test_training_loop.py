"""The training loop: schedules, averages, budgets, records, and trouble that is told early in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.core import modalities
from app.core.modalities.base import Item
from model_export.__main__ import main
from model_export.datasets import LabelledItems
from model_export.errors import CommandError
from model_export.recipe import Compute, Optimiser, Schedule, read_recipe
from model_export.training.checkpoints import optimiser_tensors, restore_optimiser
from model_export.training.devices import choose_device
from model_export.training.material import check_training_items
from model_export.training.optimisers import make_average, make_optimiser, rate_factor
from model_export.training.progress import COLUMNS, read_rows
from model_export.training.run_folder import PROGRESS_FILE
from model_export.training.watch import Watch
from model_export.windows import prepare_items
from tests.model_export.tiny_training import write_drawings, write_training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("drawings"))


@pytest.fixture(autouse=True)
def _sees_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(data))


def labelled(identity: list[int], items: list[Item] | None = None) -> LabelledItems:
    numbers = np.array(identity, np.int64)
    return LabelledItems(items or [{}] * len(identity), numbers, numbers, numbers * 0, numbers * 0, ("all",))


def test_the_rate_rises_then_falls_to_nothing_or_stays() -> None:
    cosine, constant = (
        Schedule.model_validate({"name": name, "steps": 100, "warmup_steps": 10}) for name in ("cosine", "constant")
    )
    for schedule in (cosine, constant):
        assert [rate_factor(schedule, step, 100) for step in (0, 4, 9)] == [0.1, 0.5, 1.0]
        assert rate_factor(schedule, 10, 100) == 1.0
    assert rate_factor(cosine, 55, 100) == pytest.approx(0.5)
    assert rate_factor(cosine, 99, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert rate_factor(constant, 99, 100) == 1.0


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_optimiser_given_back_what_it_remembers_moves_on_alike(name: str) -> None:
    choice = Optimiser.model_validate({"name": name, "learning_rate": 0.1, "weight_decay": 0.01})

    def begin() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network, make_optimiser(choice, [{"params": list(network.parameters()), "lr": 0.1}])

    def move(network: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        network(torch.ones(1, 3, 5, 5)).square().sum().backward()
        optimiser.step()

    one, optimiser = begin()
    move(one, optimiser)
    other, again = begin()
    other.load_state_dict(one.state_dict())
    restore_optimiser(again, {name: value.contiguous() for name, value in optimiser_tensors(optimiser).items()})
    move(one, optimiser)
    move(other, again)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    remembered = again.state_dict()["state"][0]["exp_avg" if name == "adamw" else "momentum_buffer"]
    assert remembered.is_contiguous(memory_format=torch.channels_last)


def test_the_average_of_weights_forgets_the_untrained_ones_soon_and_moves_slowly_later() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = make_average(network, 0.999)
    wanted = 0.0
    for step in range(200):
        with torch.no_grad():
            network.weight.fill_(step)
        average.update_parameters(network)
        wanted = float(step) if step == 0 else wanted + (step - wanted) * (1 - min(0.999, (1 + step) / (10 + step)))
    assert average.module.state_dict()["weight"].item() == pytest.approx(wanted, rel=1e-4)
    assert 100 < wanted < 199


def test_a_run_exports_its_average_and_keeps_both(tmp_path: Path) -> None:
    path = write_training(tmp_path / "tiny.toml", schedule="check_every = 6\nema = 0.99")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    exported = load_file(tmp_path / "run" / "checkpoint.safetensors")
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert torch.equal(exported["head.weight"], state["average.module.head.weight"])
    assert not torch.equal(exported["head.weight"], state["encoder.head.weight"])


def test_momentum_clipping_and_a_constant_rate_train(tmp_path: Path) -> None:
    changed = '[optimiser]\nname = "sgd"\nlearning_rate = 0.1\nmomentum = 0.8\nclip_norm = 0.5'
    path = write_training(tmp_path / "tiny.toml", sections={"[optimiser]": changed})
    text = path.read_text("utf-8").replace('name = "cosine"', 'name = "constant"')
    path.write_text(text, "utf-8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    (row,) = read_rows(tmp_path / "run" / PROGRESS_FILE)
    assert float(row["learning_rate"]) == 0.1


def test_minutes_become_steps_that_are_written_down_and_give_the_run_of_as_many_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_training(tmp_path / "minutes.toml")
    path.write_text(path.read_text("utf-8").replace("steps = 12", "minutes = 0.05", 1), "utf-8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    budget = json.loads((tmp_path / "run" / "budget.json").read_text("utf-8"))
    steps = budget["steps"]
    assert steps > 2
    assert f"schedule.steps = {steps} repeats this run" in capsys.readouterr().err
    assert read_rows(tmp_path / "run" / PROGRESS_FILE)[-1]["step"] == str(steps)
    same = write_training(tmp_path / "steps.toml", steps=str(steps))
    assert main(["train", str(same), "--out", str(tmp_path / "same")]) == 0
    first, second = (tmp_path / name / "checkpoint.safetensors" for name in ("run", "same"))
    assert first.read_bytes() == second.read_bytes()
    assert main(["train", str(path), "--out", str(tmp_path / "run"), "--fresh"]) == 0  # repeated: the same number
    assert json.loads((tmp_path / "run" / "budget.json").read_text("utf-8")) == budget
    assert first.read_bytes() == second.read_bytes()


def test_minutes_that_end_within_the_warm_up_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_training(tmp_path / "minutes.toml")
    path.write_text(path.read_text("utf-8").replace("steps = 12", "minutes = 1e-4", 1), "utf-8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 1
    assert "schedule.minutes: 0.0001 are 0 steps here" in capsys.readouterr().err


def test_a_run_records_every_round_in_a_table_events_and_a_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_training(tmp_path / "tiny.toml", schedule="check_every = 4")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    rows = read_rows(tmp_path / "run" / PROGRESS_FILE)
    assert tuple(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    for row in rows:
        assert 0 <= float(row["active_share"]) <= 1
        assert 0 <= float(row["validation_auc"]) <= 1
        assert float(row["items_per_second"]) > 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert len(lines) == 3
    for said in ("loss ", "active ", "items/s", "validation AUC", " left"):
        assert said in lines[0]
    events = EventAccumulator(str(tmp_path / "run" / "events"))
    events.Reload()
    assert [one.step for one in events.Scalars("validation/auc")] == [4, 8, 12]
    assert [f"{one.value:.4f}" for one in events.Scalars("training/loss")] == [row["loss"] for row in rows]
    assert (tmp_path / "run" / "progress.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_a_folder_to_go_on_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_training(tmp_path / "tiny.toml", learning_rate="1e30")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "is nan" in said
    assert "lower optimiser.learning_rate" in said
    assert (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("identity", "said"),
    [([], "no item"), ([3, 3, 3], "one identity"), ([1, 2, 3], "only one of its identity")],
)
def test_items_with_nothing_to_learn_are_refused(identity: list[int], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        check_training_items(labelled(identity))


def test_identities_of_one_item_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    check_training_items(labelled([1, 1, 2, 3]))
    assert "2 of 3 training identities have one item" in capsys.readouterr().err


def test_one_class_of_data_fails_early_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    background = write_drawings(tmp_path / "data") / "omniglot" / "background.npz"
    arrays = dict(np.load(background))
    arrays["class_id"] = np.where(arrays["alphabet"] == 0, arrays["class_id"], 1000).astype(np.uint16)
    np.savez_compressed(background, **arrays)
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    run = tmp_path / "run"
    assert main(["train", str(write_training(tmp_path / "tiny.toml")), "--out", str(run)]) == 1
    error = capsys.readouterr().err
    assert "have one identity" in error
    assert error.count("\n") == 1
    assert not list(run.iterdir())


@pytest.mark.parametrize(
    ("identity", "said"), [([1, 1], "all have one identity"), ([1, 2, 3], "no two"), ([], "no two")]
)
def test_validation_items_that_cannot_watch_are_refused(identity: list[int], said: str) -> None:
    modality = modalities.create("series", SERIES, {})
    with pytest.raises(CommandError, match=said):
        Watch.begin(labelled(identity), modality, 0)


SERIES = {
    "channels": [{"name": "x", "unit": "mV"}],
    "rate": 10.0,
    "resample": "soxr_hq",
    "min_rate": 5.0,
    "max_rate": 20.0,
    "min_steps": 4,
    "max_steps": 64,
    "ladder": [64],
    "long": "refuse",
    "gaps": "refuse",
    "normalisation": "none",
}


def test_unusable_items_are_all_named_in_one_line() -> None:
    modality = modalities.create("series", SERIES, {})
    good: Item = {"values": [[float(step)] for step in range(8)], "rate": 10.0}
    bad: Item = {"values": [[0.0]], "rate": 10.0}
    with pytest.raises(CommandError, match=r"3 of 5 items cannot be prepared: item 1: .*; also items 3, 4$") as failure:
        prepare_items(modality, labelled([0] * 5, [good, bad, good, bad, bad]))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 12", "", "schedule: give steps or minutes"),
        ("steps = 12", "steps = 12\nminutes = 1", "schedule: give steps or minutes"),
        ("warmup_steps = 2", "warmup_steps = 13", "warmup_steps: more than steps"),
        ("learning_rate =", "momentum = 0.5\nlearning_rate =", "momentum: is not for adamw"),
        ("learning_rate", "lerning_rate", "optimiser.lerning_rate: no such field; did you mean learning_rate?"),
        ("[optimiser]", "[optimizer]", "optimizer: no such field; did you mean optimiser?"),
        ("filters", "filter", "encoder.filter: no such field; did you mean filters?"),
        ('name = "convolutional"', 'name = "convolution"', "did you mean convolutional?"),
    ],
)
def test_a_fault_in_a_recipe_names_the_file_the_field_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = write_training(tmp_path / "tiny.toml")
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(CommandError) as failure:
        read_recipe(path)
    assert str(failure.value).startswith(f"{path}: ")
    assert said in str(failure.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_that_is_not_there_is_refused() -> None:
    with pytest.raises(CommandError, match="finds none here"):
        choose_device(Compute(device="cuda"))


@pytest.mark.parametrize("feature", ["amx_bf16", "avx512_bf16", None])
def test_a_cpu_takes_bf16_only_where_it_calculates_in_it(monkeypatch: pytest.MonkeyPatch, feature: str | None) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True, "avx512_f": True})
    compute = Compute(device="cpu", precision="bf16")
    if feature is None:
        with pytest.raises(CommandError, match="this CPU has no bf16"):
            choose_device(compute)
    else:
        assert choose_device(compute).type == "cpu"


def test_auto_takes_what_there_is() -> None:
    assert choose_device(Compute()).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device(Compute(device="cpu")).type == "cpu"
