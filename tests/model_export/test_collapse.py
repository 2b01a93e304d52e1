"""The collapse detector stops what learns nothing, says why, and lets what learns go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.core.modalities.base import Modality
from model_export.__main__ import main
from model_export.encoders import TwinEncoder, l2_normalize
from model_export.populations import read_splits
from model_export.recipe import Recipe, read_recipe
from model_export.training.collapse import LOOKS, Signs, effective_rank, find_collapse, spread
from model_export.training.progress import read_rows
from model_export.training.run_folder import PROGRESS_FILE, WEIGHTS_FILE, make_modality
from model_export.training.watch import Watch
from tests.model_export.tiny_training import TRIPLET, shuffle_labels, write_drawings, write_training

ROUNDS = "check_every = 10"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("drawings"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return read_recipe(write_training(tmp_path / "tiny.toml"))


class ConstantEncoder(TwinEncoder):
    """Says almost the same of every picture: what a network of dead units does, with the noise of float32."""

    inputs = ("pixels",)

    def __init__(self) -> None:
        super().__init__()
        self.direction = torch.nn.Parameter(torch.randn(16))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        ink = pixels.to(torch.float32).mean(dim=(1, 2, 3)).unsqueeze(1) / 255
        return l2_normalize(self.direction + 1e-4 * ink)


def looks(**signs: float) -> list[Signs]:
    healthy = {"auc": 0.9, "spread": 0.5, "effective_rank": 8.0, "loss": 1.0, "constant_loss": 3.0}
    return [Signs(step=100 * number, **(healthy | signs)) for number in range(1, LOOKS + 1)]


def test_effective_rank_counts_directions() -> None:
    axes = np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)
    assert effective_rank(axes) == pytest.approx(8)
    assert effective_rank(np.outer([1.0, -1.0, 2.0, -2.0], np.ones(8)).astype(np.float32)) == pytest.approx(1, abs=1e-5)
    assert effective_rank(np.ones((5, 8), np.float32)) == 1
    # singular values 3 and 1: exp of the entropy of (3/4, 1/4)
    rows = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], np.float32)
    assert effective_rank(rows) == pytest.approx(4 / 3**0.75)


def test_spread_is_the_share_of_the_power_that_varies() -> None:
    circle = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    assert spread(circle) == pytest.approx(1)
    assert spread(circle[:2]) == pytest.approx(0.5)
    assert spread(np.ones((5, 3), np.float32)) == 0


def test_a_constant_encoder_is_found_from_what_the_watch_sees(
    data: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(data))
    modality: Modality = make_modality(recipe, Path())
    torch.manual_seed(0)
    look = Watch.begin(read_splits(recipe).validation, modality, 0).look(ConstantEncoder())
    assert look.spread < 1e-6
    seen = looks(auc=look.auc, spread=look.spread, effective_rank=look.effective_rank, loss=3.0)
    said = find_collapse(recipe, seen, look.auc)
    assert said is not None
    assert "one point" in said
    assert "optimiser.learning_rate (now 0.002)" in said
    assert find_collapse(recipe, seen[:-1], look.auc) is None  # patience


def test_what_looks_like_collapse_and_is_none_goes_on(recipe: Recipe) -> None:
    assert find_collapse(recipe, looks(), 0.8) is None
    grows = [Signs(step, 0.8, step * 1e-5, 7.0, 3.1, 3.1) for step in (10, 20, 30)]  # an untrained encoder spreads out
    assert find_collapse(recipe, grows, 0.5) is None
    assert find_collapse(recipe, looks(effective_rank=1.1), 0.8) is None  # two classes need one direction
    assert find_collapse(recipe, looks(loss=3.0, auc=0.85), 0.8) is None  # the loss says little, but the AUC rises
    warm = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"warmup_steps": 300})})
    assert find_collapse(warm, looks(auc=0.5, spread=1e-9, loss=3.0), 0.5) is None


@pytest.mark.parametrize(
    ("signs", "said"),
    [
        ({"spread": 1e-4, "loss": 3.0}, "one point"),
        ({"spread": 1e-4, "auc": 0.52}, "one point"),
        ({"effective_rank": 1.2, "auc": 0.5}, "one line"),
        ({"loss": 3.0, "auc": 0.5}, "the loss stays at 3.000"),
    ],
)
def test_each_sign_stops(recipe: Recipe, signs: dict[str, float], said: str) -> None:
    found = find_collapse(recipe, looks(**signs), 0.5)
    assert found is not None
    assert said in found


def test_a_real_collapse_stops_the_run_with_advice_and_keeps_the_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hardest triplets at too high a rate pull all together: the loss comes to the margin and stays there."""
    monkeypatch.setenv("TWINSERVE_DATA", str(data))
    path = write_training(
        tmp_path / "tiny.toml", schedule=ROUNDS, sections=TRIPLET, steps="100", learning_rate="0.05", classes="8"
    )
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "collapse: all validation items lie on one point" in said
    assert "set miner.name to semi_hard or none" in said
    rows = read_rows(tmp_path / "run" / PROGRESS_FILE)
    assert int(rows[-1]["step"]) < 100
    assert float(rows[-1]["loss"]) == pytest.approx(0.2, rel=0.05)  # the margin
    assert f"is kept, of step {int(rows[-1]['step']) - 10}" in said
    assert (tmp_path / "run" / WEIGHTS_FILE).exists()
    assert (tmp_path / "run" / "progress.png").exists()


def test_the_same_drawings_with_a_gentle_loss_are_not_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(data))
    path = write_training(tmp_path / "tiny.toml", schedule=ROUNDS, steps="80", classes="8")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0


def test_shuffled_labels_stop_the_run_or_end_at_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shuffle_labels(write_drawings(tmp_path / "data"))
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    path = write_training(tmp_path / "tiny.toml", schedule=ROUNDS, steps="80", classes="8")
    status = main(["train", str(path), "--out", str(tmp_path / "run")])
    assert 0.4 < float(read_rows(tmp_path / "run" / PROGRESS_FILE)[-1]["validation_auc"]) < 0.6
    if status:
        assert "see whether the labels belong to the items" in capsys.readouterr().err


def test_a_recipe_may_train_on_through_a_collapse(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(data))
    path = write_training(
        tmp_path / "tiny.toml",
        schedule=f"{ROUNDS}\nstop_on_collapse = false",
        sections=TRIPLET,
        steps="60",
        learning_rate="0.05",
        classes="8",
    )
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
