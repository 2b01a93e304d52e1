"""docs/evaluating.md: its first block is run as it stands, and what the page says of it is what comes out."""

from __future__ import annotations

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from app.core.bundle import read_bundle
from model_export.tables import LOSS_HEADING
from tests.model_export.printed import printed_tables, value_of
from tests.model_export.test_your_data_page import run_block

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "evaluating.md").read_text("utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the block worked, and what it printed."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "models").symlink_to(ROOT / "models")
    block = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.chdir(folder)
        patch.setattr("model_export.precisions.facts.ROUND_SECONDS", 1e-4)
        run_block(block, folder)
    return folder, printed.getvalue()


def test_claims_of_other_questions_do_not_hold_as_the_page_says(made: tuple[Path, str]) -> None:
    tables = printed_tables(made[1])
    default = [
        row for row in tables["What the bundle claims beside what was measured here"] if "default" in row["point"]
    ]
    far, near = (value_of(row["measured FMR"]) for row in default)
    assert [row["measured against"] for row in default] == ["far", "near"]
    assert far == pytest.approx(0.25, abs=0.05)  # "a quarter"
    assert near > 0.9  # "nearly all"
    lost = [row for row in tables[LOSS_HEADING] if row[""].startswith("questions@")]
    assert [row["at most 0.05"] for row in lost] == ["no", "no"]


def test_every_table_that_is_printed_is_explained_there(made: tuple[Path, str]) -> None:
    explained = {words.rstrip(".") for words in re.findall(r"^\*\*(.+?)\*\*", PAGE, re.MULTILINE)}
    own = {
        "Operating points",
        "Size and speed",
        "What int8 loses",
        "Pairs at the default",
    }  # "Less precision", "Then, for pairs"
    for heading in printed_tables(made[1]):
        assert any(heading.startswith(words) for words in explained | own), heading
    page = (made[0] / "report" / "report.html").read_text("utf-8")
    assert "pictures" in page


def test_the_smaller_bundle_is_one_of_its_own(made: tuple[Path, str]) -> None:
    (small,) = (made[0] / "small" / "questions-int8").iterdir()
    bundle = read_bundle(small)
    assert bundle.manifest.graph.precision == "int8"
    assert bundle.calibration is not None
    assert bundle.calibration.source == "yours"
