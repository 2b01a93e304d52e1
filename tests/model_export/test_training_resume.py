"""A training that is killed, stopped or runs out of disk goes on, and comes to the weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from app.core.bundle import read_bundle
from model_export.__main__ import main
from model_export.training.checkpoints import read_mark, read_tensors
from model_export.training.progress import read_rows
from model_export.training.run_folder import PROGRESS_FILE, WEIGHTS_FILE, write_whole
from model_export.training.trainer import Trainer
from tests.model_export.tiny_training import shuffle_labels, start_training, write_drawings, write_training

STEPS = 40
ROUNDS = "check_every = 4\nema = 0.9"
ALL_STATE = {  # a loss with weights of its own, and batches drawn by the weights as they are
    "[loss]": '[loss]\nname = "proxy_anchor"',
    "[sampler]": "[sampler]\nclasses = 4\nper_class = 3\ngrouped_share = 0.3\nremined_share = 0.3\nneighbours = 2",
}
PATIENCE_SECONDS = 100


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawings(tmp_path_factory.mktemp("drawings"))


@pytest.fixture(autouse=True)
def _sees_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINSERVE_DATA", str(data))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and the folder of a run of it that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = write_training(folder / "tiny.toml", schedule=ROUNDS, sections=ALL_STATE, steps=str(STEPS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWINSERVE_DATA", str(data))
        assert main(["train", str(recipe), "--out", str(folder / "run")]) == 0
    return recipe, folder / "run"


def wait_for_round(process: subprocess.Popen[str], run: Path, *, least: int) -> int:
    """Wait until a running training has ended the round of step `least`; returns the step it had come to."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        mark = read_mark(run)
        if mark is not None and mark.step >= least:
            return mark.step
        time.sleep(0.002)
    raise AssertionError(f"no round ended: {process.communicate()[1]}")


def assert_same(run: Path, other: Path) -> None:
    assert (run / WEIGHTS_FILE).read_bytes() == (other / WEIGHTS_FILE).read_bytes()
    tensors, others = read_tensors(run), read_tensors(other)
    assert {name.split(".")[0] for name in tensors} == {"encoder", "average", "loss", "optimiser"}
    assert tensors.keys() == others.keys()
    assert all((tensors[name] == others[name]).all() for name in tensors)


def test_a_killed_training_goes_on_to_the_very_weights_of_one_that_was_not(
    whole: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, uninterrupted = whole
    with start_training(recipe, tmp_path, data) as process:
        wait_for_round(process, tmp_path, least=8)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    mark = read_mark(tmp_path)
    assert mark is not None
    assert 8 <= mark.step < STEPS
    assert main(["train", str(recipe), "--out", str(tmp_path)]) == 0
    assert f"going on from step {mark.step} of {STEPS}" in capsys.readouterr().err
    assert_same(tmp_path, uninterrupted)
    assert [row["step"] for row in read_rows(tmp_path / PROGRESS_FILE)] == [str(n) for n in range(4, STEPS + 1, 4)]


def test_ctrl_c_leaves_a_checkpoint_that_exports_and_says_how_to_go_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_training(tmp_path / "long.toml", schedule="check_every = 4", steps="100000")
    run = tmp_path / "run"
    with start_training(recipe, run, data) as process:
        wait_for_round(process, run, least=4)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_SECONDS)[1]
    assert process.returncode == 130
    last = said.splitlines()[-1]
    mark = read_mark(run)
    assert mark is not None
    assert last.startswith("train: stopped after step ")
    assert f"is kept, of step {mark.step}; the same command goes on from step {mark.step}" in last
    assert "Traceback" not in said
    assert main(["export", str(run), "--out", str(tmp_path / "models")]) == 0
    assert read_bundle(tmp_path / "models" / "glyphs" / "1.0.0").manifest.training.seed == 1
    assert capsys.readouterr().err == ""


def test_a_stop_in_the_first_round_keeps_the_weights_so_far_and_the_run_goes_on(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, uninterrupted = whole
    step = Trainer.step

    def step_and_ask_to_stop(self: Trainer, number: int, steps: int) -> None:
        step(self, number, steps)
        if number == 1:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step_and_ask_to_stop)
        assert main(["train", str(recipe), "--out", str(tmp_path)]) == 130
    error = capsys.readouterr().err
    assert f"stopped after step 2 of {STEPS}" in error
    assert "is of step 2 and can be exported; the same command goes on from step 0" in error
    assert (tmp_path / "run.json").exists()
    assert (tmp_path / WEIGHTS_FILE).read_bytes() != (uninterrupted / WEIGHTS_FILE).read_bytes()
    assert main(["train", str(recipe), "--out", str(tmp_path)]) == 0
    assert_same(tmp_path, uninterrupted)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("name", [WEIGHTS_FILE, PROGRESS_FILE])
def test_a_full_disk_is_told_in_one_line_and_the_run_goes_on_once_there_is_room(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    recipe, uninterrupted = whole
    (tmp_path / f"{name}.part").symlink_to("/dev/full")
    assert main(["train", str(recipe), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if "disk is full" in line] == error[-1:]
    assert error[-1].startswith(f"train: {tmp_path}: ")
    assert not (tmp_path / name).exists()
    assert main(["train", str(recipe), "--out", str(tmp_path)]) == 0
    assert_same(tmp_path, uninterrupted)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"first")

    def fail(_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):  # noqa: PT011
        write_whole(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_holds_one_run_unless_told_to_begin_anew(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = whole
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert main(["train", str(recipe), "--out", str(run)]) == 1
    error = capsys.readouterr().err
    assert "followed to its end" in error
    assert error.count("\n") == 1
    other = write_training(tmp_path / "other.toml", steps="4")
    assert main(["train", str(other), "--out", str(run)]) == 1
    error = capsys.readouterr().err
    assert "another recipe" in error
    assert "--fresh" in error
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_fresh_replaces_a_run_and_leaves_what_is_not_the_trainings(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert data.exists()
    assert main(["train", str(write_training(tmp_path / "a.toml", steps="4")), "--out", str(run)]) == 0
    (run / "notes.txt").write_text("mine")
    assert main(["train", str(write_training(tmp_path / "b.toml", steps="6")), "--out", str(run), "--fresh"]) == 0
    assert [row["step"] for row in read_rows(run / PROGRESS_FILE)] == ["6"]
    assert len(list((run / "events").iterdir())) == 1
    assert (run / "notes.txt").read_text() == "mine"


def test_a_run_goes_on_with_its_own_data_only(
    whole: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, _ = whole
    step = Trainer.step

    def stop(self: Trainer, number: int, steps: int) -> None:
        step(self, number, steps)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 130
    shuffle_labels(write_drawings(tmp_path / "data"))
    monkeypatch.setenv("TWINSERVE_DATA", str(tmp_path / "data"))
    capsys.readouterr()
    assert main(["train", str(recipe), "--out", str(tmp_path / "run")]) == 1
    assert "began on other training items" in capsys.readouterr().err
