"""The command line says what is wrong in one line and exits 2; flags override the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import app.supervisor
from app import __version__
from app.access import Access, parse_keys
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


def test_key_prints_its_secret_apart_from_the_table_that_goes_into_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--scopes", "compare", "admin", "--models", "glyphs", "--rate-per-s", "5", "--burst", "9"]
    assert main(["key", "checkout", *options]) == 0
    printed = capsys.readouterr()
    secret = printed.err.splitlines()[0]
    assert secret not in printed.out
    [key] = parse_keys(printed.out)
    assert (key.id, sorted(key.scopes), sorted(key.models or ())) == ("checkout", ["admin", "compare"], ["glyphs"])
    assert (key.rate_per_s, key.burst, key.disclosure) == (5.0, 9, "full")
    assert Access([key], lambda: 1).admit(secret).key is key


@pytest.mark.parametrize(
    "arguments",
    [
        ["a b"],
        ["a", "--scopes", "all"],
        ["a", "--rate-per-s", "nan"],
        ["a", "--scopes", "embed", "--disclosure", "verdict"],
    ],
)
def test_key_that_the_file_would_not_take_is_not_made(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("twinserve key: ")
    assert printed.err.count("\n") == 1


def test_urls_without_the_package_that_fetches_them_are_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[Settings]
) -> None:
    monkeypatch.setenv("TWINSERVE_URL_HOSTS", "files.example.org")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "httpcore2" else pytest.fail(name))
    assert main([]) == 2
    assert "install twinserve[url]" in capsys.readouterr().err
    assert not served
