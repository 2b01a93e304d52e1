"""What a draft says of one field, how sure it is, and the TOML that says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

Sure = Literal["KNOWN", "GUESS", "ASK THE OWNER"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A field by its dotted name, its value, and why that stands there."""

    field: str
    value: Any
    sure: Sure
    why: str

    @property
    def section(self) -> str:
        """The table that it stands in; empty at the top."""
        return self.field.rpartition(".")[0]


def known(field: str, value: Any, why: str) -> Entry:
    """A field that the file settles, or that has one value only."""
    return Entry(field, value, "KNOWN", why)


def guess(field: str, value: Any, why: str) -> Entry:
    """A field that it leaves open."""
    return Entry(field, value, "GUESS", why)


def ask(field: str, value: Any, why: str) -> Entry:
    """A field that only the encoder's owner can fill."""
    return Entry(field, value, "ASK THE OWNER", why)


def write_toml(head: Iterable[str], entries: Sequence[Entry]) -> str:
    """A spec with a comment above every field: how sure it is, and why. `head` are the first lines of comment.

    Sections come in the order of their first entry, the top first, as TOML needs it.
    """
    lines = [f"# {plain(line)}".rstrip() for line in head]
    order = {section: place for place, section in enumerate(dict.fromkeys(entry.section for entry in entries))}
    inside = sorted(entries, key=lambda entry: -1 if not entry.section else order[entry.section])
    for section, members in groupby(inside, key=lambda entry: entry.section):
        lines += ["", f"[{section}]"] if section else [""]
        for entry in members:
            lines += [f"# {entry.sure}: {plain(entry.why)}", f"{entry.field.rpartition('.')[2]} = {toml(entry.value)}"]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A value as TOML writes it: text, numbers, booleans, lists, and tables in one line."""
    if isinstance(value, Mapping) and value:
        return "{ " + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def plain(text: str) -> str:
    """Text from a file of others, fit for one line of a comment or a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
