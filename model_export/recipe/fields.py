"""The fields of a recipe, read off its models: what a misspelt one may have meant, and a table of all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Table:
    """The fields of one model: `section` is its place in the file, `model` one of those that may stand there."""

    section: str
    model: type[BaseModel]


def walk(model: type[BaseModel], section: str = "") -> Iterator[Table]:
    """A model and all that its fields may hold, in order."""
    yield Table(section, model)
    for name, field in model.model_fields.items():
        for part in _models(field.annotation):
            yield from walk(part, f"{section}.{written(name, field)}".removeprefix("."))


def written(name: str, field: FieldInfo) -> str:
    """The field's name as a file has it."""
    return field.alias or name


def fixed_word(field: FieldInfo) -> str | None:
    """The only word that a field takes, which tells its model from others of the same section; else None."""
    words = _words(field)
    return words[0] if len(words) == 1 else None


def describe_fault(model: type[BaseModel], error: ValidationError) -> str:
    """One line on what is wrong: the place in the file, and the nearest name where a field or a kind is not known.

    Of several faults an unknown field is told first, since a misspelt one is missing besides.
    """
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    place, here = _follow(model, first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = sorted({written(name, field) for one in here for name, field in one.model_fields.items()})
        said = f"no such field{_hint(place.rsplit('.', 1)[-1], known)}"
    if first["type"] == "union_tag_not_found":
        place, said = f"{place}.{str(first['ctx']['discriminator']).strip(chr(39))}", "Field required"
    if first["type"] == "union_tag_invalid":
        word, name = str(first["ctx"]["tag"]), str(first["ctx"]["discriminator"]).strip("'")
        known = [one.strip().strip("'") for one in str(first["ctx"]["expected_tags"]).split(",")]
        place, said = f"{place}.{name}", f"{word!r} is not known{_hint(word, known)}"
    return f"{place}{': ' if place else ''}{said}"


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _follow(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """The place as a file names it, and the models that may stand around its last part.

    pydantic's location also holds the words that chose among models, some of which are names of fields too, and names
    of its own in brackets.
    """
    parts: list[str] = []
    here = [model]
    for step in location:
        fields = [(one, name, field) for one in here for name, field in one.model_fields.items()]
        held = [field for _, name, field in fields if step in (name, field.alias)]
        chosen = [one for one, _, field in fields if step in _words(field)]
        if chosen and len(here) > 1:
            here = chosen
            continue
        if isinstance(step, str) and ("(" in step or "[" in step):
            continue
        parts.append(str(step))
        inner = [one for field in held for one in _models(field.annotation)]
        here = inner or here
    return ".".join(parts), here


def _words(field: FieldInfo) -> tuple[str, ...]:
    """The words that a field takes, where it takes no others."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type names, however deep in unions and lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in get_args(annotation) for one in _models(part)]
