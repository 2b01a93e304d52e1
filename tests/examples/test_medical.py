"""The worked example for medical pictures runs as its page says, from DICOM files to a verdict with error rates."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "medical"
PAGE = (ROOT / "docs" / "examples" / "medical.md").read_text("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("medical")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    """What the example prints."""
    command = [sys.executable, str(EXAMPLE / "run.py"), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_nothing_is_decided_before_calibration_and_both_kinds_of_pair_after_it(output: str) -> None:
    assert re.findall(r"^verdict: (\w+)", output, re.MULTILINE) == ["undetermined", "match", "no_match"]
    assert re.findall(r"because (\w+)", output) == ["uncalibrated"]
    rates = re.findall(r"called (?:a|no) match: (0\.\d+) \(95 %: (0\.\d+) to (0\.\d+)\)", output)
    assert len(rates) == 4
    for value, low, high in rates:
        assert float(low) <= float(value) <= float(high) <= 0.5


def test_what_must_be_known_is_said_by_the_script_and_on_the_page(output: str) -> None:
    for text in (output, PAGE):
        for words in ("random weights", "identify patients", "personal data", "or clinical use"):
            assert words in text, words


def test_no_patient_gets_into_the_log_of_the_service(output: str, folder: Path) -> None:
    assert output
    found = dcmread(folder / "scans" / "patient-40-visit-0.dcm")
    assert "Invented" in str(found.PatientName)
    log = (folder / "service.log").read_text("utf-8")
    assert "listening on" in log
    assert "nvented" not in log
    assert "Traceback" not in log


def test_the_page_shows_the_commands_that_run(output: str, folder: Path) -> None:
    page = " ".join(PAGE.replace("\\\n", " ").split())
    commands = re.findall(r"^\$ (python -m model_export .*)$", output, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert command.replace(str(folder), "/tmp/medical").replace(f"{ROOT}/", "") in page


def test_the_page_shows_the_answers_that_come(output: str) -> None:
    """Words exactly, numbers nearly: they may differ in their last digit on another machine."""
    said = r"^(?:verdict: |  \w.*: ).*$"
    blocks = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    shown, came = ("\n".join(re.findall(said, text, re.MULTILINE)) for text in ("".join(blocks), output))
    number = r"\d\.\d+"
    assert re.sub(number, "N", shown) == re.sub(number, "N", came)
    assert [float(one) for one in re.findall(number, shown)] == pytest.approx(
        [float(one) for one in re.findall(number, came)], abs=0.002
    )
