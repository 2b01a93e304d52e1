"""Every page and file that a page, a docstring or a message names is there, and so is every heading that is linked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "app", "model_export", "tests", "recipes", "examples", "models")
NAMED = re.compile(r"(?<![\w/.(-])(?:docs|app|model_export|tests|recipes|examples)/[\w./-]+\.(?:md|py|toml)\b")
DECISION = re.compile(r"(?<![\w/.-])(?:docs/)?decisions/(\d{4})(?!\d)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def texts(*kinds: str) -> list[Path]:
    """The project's own texts of these endings."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    return sorted([*found, *(path for path in ROOT.iterdir() if path.suffix in kinds or path.name in kinds)])


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the heading, "" for none, of each link to something of the project."""
    for target in LINK.findall(page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            name, _, heading = target.partition("#")
            yield (page.parent / name if name else page), heading


def headings(page: Path) -> set[str]:
    """What a link calls the headings of a page, as GitHub makes it of their words."""
    said = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in said}


def test_every_file_that_is_named_is_there() -> None:
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in texts(".md", ".py", ".toml", "Makefile", "Dockerfile")
        for name in NAMED.findall(path.read_text("utf-8"))
    }
    assert len(named) > 100
    assert [one for one in sorted(named) if not (ROOT / one[1]).is_file()] == []


def test_every_decision_that_is_named_is_there() -> None:
    numbers = {path.name[:4] for path in (ROOT / "docs" / "decisions").iterdir()}
    for path in texts(".md", ".py"):
        assert set(DECISION.findall(path.read_text("utf-8"))) <= numbers, path


@pytest.mark.parametrize("page", texts(".md"), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or heading in headings(target), f"{target}#{heading}"


def test_every_page_is_linked_from_another() -> None:
    linked = {target.resolve() for page in texts(".md") for target, _ in links(page) if target != page}
    pages = {path for path in texts(".md") if path.is_relative_to(ROOT / "docs")}
    folders = {path for path in linked if path.is_dir()}
    assert [page for page in sorted(pages) if page not in linked and page.parent not in folders] == []
