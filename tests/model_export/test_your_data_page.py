"""docs/your-data.md: its commands are run as they stand, so that each form of data goes from files to evidence."""

from __future__ import annotations

import re
import runpy
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from app.core.bundle import read_bundle
from model_export.__main__ import _parser, main

PAGE = Path(__file__).parents[2] / "docs" / "your-data.md"
HERE_DOCUMENT = re.compile(r"([^\n]*) <<'END'\n(.*?)^END\n", re.DOTALL | re.MULTILINE)


def run_block(block: str, folder: Path) -> None:
    """The commands of a block: here-documents to files or to Python, `cat A B > C`, `python -m model_export`."""
    at = 0
    while at < len(block):
        document = HERE_DOCUMENT.match(block, at)
        line = block[at:].splitlines()[0] if document is None else document[1]
        at = document.end() if document is not None else at + len(line) + 1
        words = shlex.split(line)
        if document is not None and words[0] == "cat":
            (folder / words[2]).write_text(document[2], "utf-8")
        elif document is not None:
            (folder / "typed.py").write_text(document[2], "utf-8")
            runpy.run_path(str(folder / "typed.py"))
        elif words[0] == "cat":
            whole = "".join((folder / name).read_text("utf-8") for name in words[1:-2])
            (folder / words[-1]).write_text(whole, "utf-8")
        else:
            assert words[:3] == ["python", "-m", "model_export"]
            assert main(words[3:]) == 0, line


FORMS = {"marks": {"random"}, "products": {"random", "hard"}, "asked": {"random", "colour"}}
"""Name of each block's bundle -> its impostor types, in the order of the page."""


@pytest.fixture(scope="module", params=FORMS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """A form's bundle, the folder in which every command of its block worked, and what the commands printed."""
    folder = tmp_path_factory.mktemp("own")
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(FORMS)
    texts = next(one for one in HERE_DOCUMENT.finditer(blocks[1]) if one[1] == "cat > text.part")
    (folder / "text.part").write_text(texts[2], "utf-8")  # the third block takes it from the second
    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        patch.delenv("TWINSERVE_DATA", raising=False)
        run_block(blocks[list(FORMS).index(request.param)], folder)
    return request.param, folder, printed.getvalue()


def test_each_form_of_data_ends_in_evidence_of_its_own(made: tuple[str, Path, str]) -> None:
    name, folder, _ = made
    bundle = read_bundle(folder / "models" / name / "1.0.1")
    assert bundle.calibration is not None
    assert bundle.calibration.source == "yours"
    assert {one.type for one in bundle.calibration.impostors} == FORMS[name]
    assert bundle.calibration.counts.units >= 9
    assert not (folder / "runs" / name / "duplicates.csv").exists()
    if name == "asked":
        said = bundle.calibration.impostor("colour").description
        assert said == "the same question about the product in another colour"


def test_the_commands_of_fit_and_plan_on_the_page_are_understood() -> None:
    commands = re.findall(r"^\$ python -m model_export ((?:fit|plan) .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"fit", "plan"}
    for command in commands:
        assert _parser().parse_args(shlex.split(command)).data == Path("products")


def test_the_plan_on_the_page_is_what_every_command_prints(made: tuple[str, Path, str]) -> None:
    name, _, printed = made
    (plan,) = re.findall(r"```text\n(part .*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert printed.count("lowest FMR it could show") == 3  # train, calibrate, evaluate
    assert (printed.count(plan) == 3) == (name == "marks")
