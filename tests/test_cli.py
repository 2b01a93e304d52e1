"""The command line says what is wrong in one line and exits 2; flags override the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import app.supervisor
from app import __version__
from app.cli import main
from app.settings import TUNED, Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `serve` was called with, in place of serving."""
    calls: list[Settings] = []

    def record(settings: Settings) -> int:
        calls.append(settings)
        return 0

    monkeypatch.setattr(app.supervisor, "serve", record)
    return calls


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"twinserve {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["serve"]])
def test_no_command_means_serve(arguments: list[str], served: list[Settings]) -> None:
    assert main(arguments) == 0
    assert len(served) == 1


def test_flags_override_the_environment(monkeypatch: pytest.MonkeyPatch, served: list[Settings]) -> None:
    monkeypatch.setenv("TWINSERVE_PORT", "9000")
    monkeypatch.setenv("TWINSERVE_WORKERS", "7")
    assert main(["--port", "9001", "--models", "elsewhere"]) == 0
    assert (served[0].port, served[0].workers, str(served[0].models)) == (9001, 7, "elsewhere")


def test_wrong_value_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], served: list[Settings]) -> None:
    assert main(["serve", "--port", "high"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("twinserve: TWINSERVE_PORT=high: ")
    assert error.count("\n") == 1
    assert not served


def test_tuned_file_that_cannot_be_read_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[Settings], tmp_path: Path
) -> None:
    (tmp_path / TUNED).write_bytes(b"\xff\xfe")
    monkeypatch.setenv("TWINSERVE_STATE_DIR", str(tmp_path))
    assert main(["serve"]) == 2
    error = capsys.readouterr().err
    assert TUNED in error
    assert error.count("\n") == 1
    assert not served


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "long"])
def test_tune_takes_only_a_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tune", "--seconds", seconds])
    assert caught.value.code == 2
    assert f"'{seconds}' is not a number of seconds" in capsys.readouterr().err


def test_unknown_variables_are_told_and_do_not_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[Settings]
) -> None:
    monkeypatch.setenv("TWINSERVE_WORKER", "3")
    assert main(["serve"]) == 0
    assert "TWINSERVE_WORKER" in capsys.readouterr().err
    assert len(served) == 1


def test_python_dash_m_app_is_the_same_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "app", "--version"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert run.stdout == f"twinserve {__version__}\n"


def test_supervisor_imports_neither_the_http_framework_nor_the_engine() -> None:
    heavy = "{'fastapi', 'starlette', 'uvicorn', 'onnxruntime', 'PIL'}"
    code = f"import sys, app.cli, app.supervisor; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
