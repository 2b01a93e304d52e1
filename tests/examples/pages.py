"""Run a worked example as its page says, and hold the page to what comes of it."""

from __future__ import annotations

import io
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"-?\d+\.\d+")


def needs(bundle: str) -> pytest.MarkDecorator:
    """Skip where a bundle that should ship is not there yet."""
    there = any((ROOT / "models" / bundle).glob("*.*.*"))
    return pytest.mark.skipif(not there, reason=f"models/{bundle} is not there yet")


def run_example(name: str, folder: Path) -> str:
    """What examples/<name>/run.py prints, as the page shows it: its folder as /tmp/<name>, its service on port 8000, a
    shipped bundle without the number of its version.
    """
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            load_example(name, "__main__", str(folder))
    except SystemExit as end:
        pytest.fail(f"examples/{name}/run.py ended with {end.code!r} after\n{printed.getvalue()}")
    log = (folder / "service.log").read_text("utf-8")
    assert "listening on" in log
    assert "Traceback" not in log
    said = printed.getvalue().replace(str(folder), f"/tmp/{name}").replace(f"{ROOT}/", "")
    said = re.sub(r"http://127\.0\.0\.1:\d+", "localhost:8000", said)
    return re.sub(r" models/([\w-]+)/\d+\.\d+\.\d+", r" models/\1/VERSION", said)


def load_example(name: str, run_name: str = "loaded", *arguments: str) -> dict[str, Any]:
    """The names that examples/<name>/run.py defines, once it ran with these arguments."""
    script = str(ROOT / "examples" / name / "run.py")
    before = sys.argv, sys.path[:]
    sys.argv = [script, *arguments]
    try:
        return runpy.run_path(script, run_name=run_name)
    finally:
        sys.argv, sys.path[:] = before


def read_page(name: str) -> str:
    return (ROOT / "docs" / "examples" / f"{name}.md").read_text("utf-8")


def verdicts(output: str) -> list[str]:
    """The verdict of each comparison, or the code of its refusal, in order."""
    return re.findall(r"^(?:verdict: |4\d\d (?=\w+: ))(\w+)", output, re.MULTILINE)


def assert_page_is_true(page: str, output: str, *, numbers: bool = True) -> None:
    """Every command that ran stands on the page, and all that its blocks of text show came, in that order: words
    exactly, numbers nearly, since they may differ in their last digits on another machine.

    numbers=False where they are a shipped bundle's, and dated on the page: words only.
    """
    typed = " ".join(page.replace("\\\n", " ").split())
    commands = re.findall(r"^\$ (.+)$", output, re.MULTILINE)
    assert commands
    for command in commands:
        assert " ".join(command.split()) in typed
    shown = [line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in block.splitlines() if line]
    assert shown
    came = iter(output.splitlines())
    for line in shown:
        assert any(_alike(line, other, numbers) for other in came), f"did not come, or not in this order: {line}"


def _alike(one: str, other: str, numbers: bool) -> bool:
    if NUMBER.sub("N", one) != NUMBER.sub("N", other):
        return False
    pairs = zip(*(map(float, NUMBER.findall(line)) for line in (one, other)), strict=True)
    return not numbers or all(abs(a - b) <= 0.005 for a, b in pairs)
