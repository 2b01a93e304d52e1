"""docs/evidence.md: every figure on the page is what its command prints now, and what its words say of the figures."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from model_export.results.__main__ import main
from model_export.results.base_rates import PRIORS, needed_fmr, wrong_matches, wrong_non_matches
from model_export.results.filling import BLOCK
from tests.examples.pages import load_example, needs

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "evidence.md").read_text("utf-8")
COMMANDS = [found["command"] for found in BLOCK.finditer(PAGE)]
NUMBER = re.compile(r"\d[\d.,]*(?:e-?\d+)?")


def printed(command: str, capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    """The table that a command of the page prints; its signatures are drawn in `folder`."""
    program, *words = shlex.split(command.replace("python -m ", "", 1))
    assert program == "model_export.results"
    if any("/tmp/signatures" in word for word in words):
        load_example("signatures")["make"](folder)
        words = [word.replace("/tmp/signatures", str(folder)) for word in words]
    assert main(words) == 0
    return "".join(f"{line}\n" for line in capsys.readouterr().out.splitlines() if line.startswith("|"))


@needs("glyphs")
@needs("questions")
@needs("signatures")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_table_is_what_its_command_prints(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    if missing := [word for word in command.split() if word.startswith("runs/") and not Path(word).exists()]:
        pytest.skip(f"{missing[0]} is not there: docs/results.md says how it is made, with data and an import")
    table = next(found["table"] for found in BLOCK.finditer(PAGE) if found["command"] == command)
    now = printed(command, capsys, tmp_path)
    said = "run: python -m model_export.results fill docs/evidence.md"
    assert re.findall(r"@[\d.]+", table) == re.findall(r"@[\d.]+", now), said
    table, now = (re.sub(r"@[\d.]+", "", text) for text in (table, now))
    assert NUMBER.sub("#", table) == NUMBER.sub("#", now), said
    # Another machine may differ in a last digit.
    then, today = ([float(one.replace(",", "")) for one in NUMBER.findall(text)] for text in (table, now))
    assert today == pytest.approx(then, rel=0.02), said


def test_no_table_of_figures_stands_without_a_command() -> None:
    assert len(COMMANDS) == 5
    tables = re.findall(r"(?m)^\|.*\|\n\|(?: ?-+ ?\|)+\n", PAGE)
    assert len(tables) == len(COMMANDS) + 1  # that of the types has words only


@pytest.mark.parametrize("prior", PRIORS)
def test_shares_of_wrong_verdicts_are_those_of_counted_pairs(prior: float) -> None:
    """Against a count of a population, not against the formula."""
    pairs, fmr, fnmr = 10_000_000, 0.01, 0.05
    matching = round(pairs * prior)
    missed, false = round(matching * fnmr), round((pairs - matching) * fmr)
    assert wrong_matches(prior, fmr, fnmr) == pytest.approx(false / (false + matching - missed), rel=1e-3)
    right_no = pairs - matching - false
    assert wrong_non_matches(prior, fmr, fnmr) == pytest.approx(missed / (missed + right_no), rel=1e-3)
    asked = needed_fmr(prior, fnmr, 0.1)
    assert wrong_matches(prior, asked, fnmr) == pytest.approx(0.1)


def test_ends_of_the_scale_divide_by_nothing() -> None:
    assert wrong_matches(0.5, 0.0, 1.0) == 0.0
    assert wrong_matches(1.0, 0.01, 0.05) == 0.0
    assert wrong_matches(0.0, 0.01, 0.05) == 1.0


def test_words_about_base_rates_are_their_figures() -> None:
    """The sentences below the first table, and the promise of the issue: 1 % and 51 %."""
    text = " ".join(PAGE.split())
    assert wrong_matches(1 / 2, 0.01, 0.05) == pytest.approx(0.0104, abs=5e-5)
    assert wrong_matches(1 / 100, 0.01, 0.05) == pytest.approx(0.5103, abs=5e-5)
    assert "Of a million pairs 10,000 match, and 9,500 of them are found" in text
    assert (round(10_000 * 0.95), round(990_000 * 0.01)) == (9_500, 9_900)
    assert "against a list of 1,000 strangers, an FMR of 0.1 % gives one false match on average" in text
    assert 1_000 * 0.001 == 1


@pytest.mark.parametrize(("fmr", "units"), [(1e-2, 25), (1e-3, 78), (1e-4, 246)])
def test_numbers_of_units_are_the_fewest_that_can_show_a_rate(fmr: float, units: int) -> None:
    assert f"{units}" in PAGE
    assert 3 / (units * (units - 1) / 2) <= fmr < 3 / ((units - 1) * (units - 2) / 2)


def test_examples_of_impostors_are_pairs_that_the_project_labels_so() -> None:
    with (ROOT / "examples" / "questions" / "pairs.csv").open(newline="", encoding="utf-8") as file:
        rows = {frozenset((row["a"], row["b"])): row["impostor"] for row in csv.DictReader(file)}
    for kind in ("random", "hard"):
        shown = re.search(rf'\| `{kind}` \|.*\| "(.+?)" and "(.+?)" \|', PAGE)
        assert shown is not None
        assert rows[frozenset(shown.groups())] == kind


def test_a_point_that_a_bundle_has_not_is_refused_with_what_it_has(
    tiny_models: Path, uncalibrated_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["types", str(tiny_models / "tiny"), "--point", "skilled:fmr_1e-2"]) == 1
    error = capsys.readouterr().err
    assert "has no operating point skilled:fmr_1e-2; it has random:fmr_1e-1" in error
    assert main(["types", str(uncalibrated_models / "tiny")]) == 1
    assert "has no operating point by default; it has none" in capsys.readouterr().err


def test_readme_leads_here() -> None:
    assert "(docs/evidence.md)" in (ROOT / "README.md").read_text("utf-8")
