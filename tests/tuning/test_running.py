"""`twinserve tune` for real: measuring processes, a tiny bundle, the file, and a service that uses it."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

import app.tuning.running
from app.cli import main
from app.core.bundle import read_bundle
from app.settings import TUNED, Settings
from app.supervisor.running import NO_MODELS, UNABLE
from app.tuning.choice import Layout, layouts
from app.tuning.crew import Crew, CrewLostError
from app.tuning.measuring import Round
from app.tuning.running import SIZES, measure_buckets
from tests.supervisor.live import LiveService, live_service, wait_for, wait_for_end

CPUS = 2
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Tuned:
    """What one tuning printed, and the state folder that it wrote to."""

    printed: str
    state: Path


@pytest.fixture(scope="module")
def tuned(uncalibrated_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    """One tuning of a folder with a good bundle and a damaged one, as on a machine with two CPUs."""
    state, models = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("models")
    shutil.copytree(uncalibrated_models, models, dirs_exist_ok=True)
    (models / "tiny" / "2.0.0").mkdir()
    (models / "tiny" / "2.0.0" / "manifest.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setattr(app.tuning.running, "available_cpus", lambda: CPUS)
        for name, value in {"MODELS": models, "STATE_DIR": state, "DEVICE": "cpu"}.items():
            patch.setenv(f"TWINSERVE_{name}", str(value))
        assert main(["tune", "--seconds", "0.2"]) == 0
    yield Tuned(printed.getvalue(), state)
    assert not multiprocessing.active_children()


def test_table_has_each_layout_and_batch_with_figures(tuned: Tuned) -> None:
    rows = re.findall(r"^\| (\S+) \| (\d+) x (\d+) \| (\d+) \| (\S+) \| (\S+) \| (.*) \|$", tuned.printed, re.MULTILINE)
    assert {row[:4] for row in rows} == {
        ("tiny@1.0.0", str(layout.processes), str(layout.threads), str(size))
        for layout in layouts(CPUS)
        for size in SIZES
    }
    assert len(rows) == len(layouts(CPUS)) * len(SIZES)
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
    assert sum(row[6] == "chosen" for row in rows) == 1


def test_file_holds_what_was_chosen(tuned: Tuned) -> None:
    text = (tuned.state / TUNED).read_text()
    chosen = re.search(r"\| (\d+) x (\d+) \| \d+ \| \S+ \| \S+ \| chosen \|", tuned.printed)
    assert chosen is not None
    settings = Settings(state_dir=tuned.state)
    assert (settings.workers, settings.threads) == tuple(map(int, chosen.groups()))
    assert 5 <= settings.batch_ms <= 50
    assert f"TWINSERVE_BATCH_MS={settings.batch_ms:.0f}" in tuned.printed
    assert "# usable CPUs: 2\n# bundles: tiny@1.0.0\n" in text


def test_a_service_uses_the_file_says_so_warns_of_other_cpus_and_leaves_it(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    file = tmp_path / TUNED
    text = "# usable CPUs: 4096\nTWINSERVE_WORKERS=2\nTWINSERVE_THREADS=2\n"
    file.write_text(text)
    with live_service(uncalibrated_models, state_dir=tmp_path, workers="") as service:
        introduction = wait_for("introduction", lambda: service.said("version"))
        assert f"2 workers, device cpu, tuned by {file}, serving" in introduction.string
        assert service.said("warning: .* was measured with 4096 usable CPUs")
        service.wait_ready(2)
        service.process.send_signal(signal.SIGTERM)
        assert service.wait_exit() == 0
    assert file.read_text() == text


def test_interrupted_tuning_is_one_line_and_leaves_neither_a_process_nor_a_file(
    uncalibrated_models: Path, tmp_path: Path
) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("TWINSERVE_")}
    chosen = {"TWINSERVE_MODELS": str(uncalibrated_models), "TWINSERVE_DEVICE": "cpu"}
    command = [sys.executable, "-m", "app", "tune", "--seconds", "60", "--out", str(tmp_path / TUNED)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=own | chosen)
    tuning = LiveService(process)
    try:
        wait_for("first round", lambda: tuning.said("round 1"))
        wait_for("measuring process", tuning.worker_pids)
        pids = tuning.worker_pids()
        process.send_signal(signal.SIGINT)
        assert tuning.wait_exit() == 130
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
    for pid in pids:
        wait_for_end(pid)
    assert tuning.lines[-1] == "twinserve: tune: stopped, nothing was written"
    assert not any("Traceback" in line for line in tuning.lines)
    assert not list(tmp_path.iterdir())


def test_without_a_place_to_write_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == UNABLE
    error = capsys.readouterr().err
    assert "TWINSERVE_STATE_DIR" in error
    assert "--out" in error
    assert error.count("\n") == 1


def test_gpu_is_not_tuned_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_DEVICE", "cuda")
    assert main(["tune", "--out", str(tmp_path / "file")]) == UNABLE
    assert "TWINSERVE_DEVICE=cpu" in capsys.readouterr().err


def test_no_bundle_to_measure_is_told_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINSERVE_MODELS", str(tmp_path / "none"))
    monkeypatch.setenv("TWINSERVE_DEVICE", "cpu")
    assert main(["tune", "--out", str(tmp_path / "file")]) == NO_MODELS
    assert "no model is left to measure" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()


def test_bundle_that_a_worker_would_refuse_is_left_out(uncalibrated_models: Path) -> None:
    """Golden vectors that another graph made are not reproduced, which only a process with the engine finds out."""
    bundle = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
    golden = bundle.golden
    spoilt = type(golden)(golden.items, golden.framework, golden.served[::-1], golden.tolerance, golden.source)
    object.__setattr__(bundle, "golden", spoilt)
    with Crew([bundle], Layout(1, 1)) as crew:
        opened = crew.opened()
    assert list(opened.refused) == ["tiny@1.0.0"]
    assert "not reproduced" in opened.refused["tiny@1.0.0"]
    assert not opened.buckets


def test_all_processes_of_a_layout_are_counted(uncalibrated_models: Path) -> None:
    bundle = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
    with Crew([bundle], Layout(2, 1)) as crew:
        crew.opened()
        figure = crew.go(Round(bundle.key, 4, 0.1))
        again = crew.go(Round(bundle.key, 1, 0.1, bucket=0))
    # By definition of the two figures: each of two processes has 4 items every batch_ms.
    assert figure.items_per_s * figure.batch_ms == pytest.approx(2 * 4 * 1000)
    assert again.items_per_s * again.batch_ms == pytest.approx(2 * 1000)


def test_process_that_dies_ends_the_tuning_and_the_others(uncalibrated_models: Path) -> None:
    bundle = read_bundle(uncalibrated_models / "tiny" / "1.0.0")
    with Crew([bundle], Layout(2, 1)) as crew:
        crew.opened()
        multiprocessing.active_children()[0].kill()
        with pytest.raises(CrewLostError):
            crew.go(Round(bundle.key, 1, 0.1))
    assert not multiprocessing.active_children()


def test_each_bucket_of_a_bundle_with_several_is_measured() -> None:
    bundle = read_bundle(next((Path(__file__).parents[2] / "models" / "heartbeat").iterdir()))
    found = measure_buckets([bundle], Layout(1, 1), {bundle.key: 2}, 0.05)
    assert list(found[bundle.key]) == ["1250", "2500"]


def test_tuning_process_imports_no_engine() -> None:
    code = "import sys, app.tuning.running; sys.exit(sorted({'onnxruntime', 'fastapi', 'PIL'} & set(sys.modules)) or 0)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stderr
