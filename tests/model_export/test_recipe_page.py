"""docs/recipes.md holds every field of a recipe and nothing else, and its worked example is a recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model_export.errors import CommandError
from model_export.recipe import Recipe, read_recipe
from model_export.recipe.fields import fixed_word, walk, written
from model_export.recipe.page import fill_page

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_tables_are_those_of_the_models_today() -> None:
    text = PAGE.read_text("utf-8")
    assert fill_page(text) == text, "run: python -m model_export.recipe.page docs/recipes.md"


def test_every_field_stands_there_with_a_description() -> None:
    text = PAGE.read_text("utf-8")
    tables = list(walk(Recipe))
    assert {table.section.split(".")[0] for table in tables} > {"data", "encoder", "loss", "schedule", "compute"}
    undescribed = []
    for table in tables:
        for name, field in table.model.model_fields.items():
            if name in Recipe.model_fields and table.model is Recipe and f"[{name}]" in text:
                continue  # a section, which has a table of its own
            if word := fixed_word(field):
                assert f'`{name} = "{word}"`' in text
            elif field.description is None:
                undescribed.append(f"{table.section}.{name}")
            else:
                assert f"| `{written(name, field)}` |" in text
    assert undescribed == []


def test_a_section_without_a_place_is_told() -> None:
    text = PAGE.read_text("utf-8").replace("<!-- fields of miner -->", "")
    with pytest.raises(CommandError, match="miner"):
        fill_page(text)


def test_the_worked_example_is_a_recipe(tmp_path: Path) -> None:
    found = re.search(r"<!-- worked example -->\n```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    (tmp_path / "words.toml").write_text(found[1], "utf-8")
    recipe = read_recipe(tmp_path / "words.toml")
    assert recipe.name == "words"
    assert recipe.compute.threads == 1
