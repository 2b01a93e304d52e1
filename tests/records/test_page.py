"""docs/records.md names the members that a record has."""

from __future__ import annotations

import re
from pathlib import Path

from app.records import Record

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")


def test_every_member_is_on_the_page_and_the_page_names_no_other() -> None:
    _, _, rest = PAGE.partition("| member | is |")
    rows = re.findall(r"^\| (`.*?) \|", rest.partition("\n\n")[0], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(Record.model_fields)
