"""`python -m model_export.recipe.page docs/recipes.md`: write the tables of fields into the page anew.

A table stands between `<!-- fields of SECTION -->` and `<!-- end of fields -->`; what is written around it stays.
"""

from __future__ import annotations

import argparse
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from model_export.command_line import run_command
from model_export.errors import CommandError
from model_export.recipe import Recipe
from model_export.recipe.fields import Table, fixed_word, walk, written

BLOCK = re.compile(r"(<!-- fields of (?P<section>[\w ]+) -->\n).*?(<!-- end of fields -->)", re.DOTALL)
TOP = "the file"
WORDS: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "any"}
BOUNDS = {Ge: ("ge", "from"), Gt: ("gt", "above"), Le: ("le", "up to"), Lt: ("lt", "below")}


def fill_page(text: str) -> str:
    """The page with its tables as the models are now. Raises CommandError for a section without a place in it."""
    tables: dict[str, list[Table]] = {}
    for table in walk(Recipe):
        tables.setdefault(table.section.split(".", 1)[0] or TOP, []).append(table)
    places = [found["section"] for found in BLOCK.finditer(text)]
    if sorted(places) != sorted(tables):
        raise CommandError(f"the page has places for {places}, and a recipe has {list(tables)}")
    drawn = {section: "\n\n".join(map(_draw, held)) for section, held in tables.items()}
    return BLOCK.sub(lambda found: f"{found[1]}\n{drawn[found['section']]}\n\n{found[3]}", text)


def _draw(table: Table) -> str:
    """A model's own words, then a row for each field; sections have tables of their own."""
    said = " ".join((table.model.__doc__ or "").split("\n\n", 1)[0].split())
    fields = table.model.model_fields
    chosen = [f'`{name} = "{word}"`: ' for name, field in fields.items() if (word := fixed_word(field))]
    nested = f"`{table.section}`: " if "." in table.section else ""
    lines = [f"{nested}{''.join(chosen)}{said}"]
    if rows := list(_rows(table.model)):
        lines += ["", "| field | takes | unless given | what it is |", "| --- | --- | --- | --- |", *rows]
    return "\n".join(lines)


def _rows(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if fixed_word(field) is None and not _is_section(field):
            cells = (f"`{written(name, field)}`", _takes(field), _default(field), field.description or "")
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _is_section(field: FieldInfo) -> bool:
    """Whether the field is a table of the file's own, or one of several."""
    inner = get_args(field.annotation) or (field.annotation,)
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in inner)


def _takes(field: FieldInfo) -> str:
    bounds = [
        f"{word} {getattr(one, attribute)}"
        for kind, (attribute, word) in BOUNDS.items()
        for one in field.metadata
        if isinstance(one, kind)
    ]
    return " ".join([_name(field.annotation), *bounds])


def _name(annotation: Any) -> str:
    """A type in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{one}`" for one in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(one) for one in parts if one is not type(None)))
    if origin in (tuple, list, frozenset):
        return f"list of {_name(parts[0])}"
    if origin is dict:
        return "table"
    return WORDS.get(annotation) or (_name(parts[0]) if parts else str(getattr(annotation, "__name__", annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**must be given**"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{list(value)}`" if isinstance(value, tuple) else f"`{value}`"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model_export.recipe.page", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.set_defaults(run=_run, command="page")
    return run_command(parser, arguments)


def _run(chosen: argparse.Namespace) -> None:
    chosen.page.write_text(fill_page(chosen.page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
