"""`elsewhere [BUNDLE ...] [--floor NAME ...] --recipe RECIPE`: the populations of its `[[external]]` sections.

Bundles and floors on the same comparisons, with one reference and with several; see model_export/outside.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from model_export.card import markdown_table
from model_export.errors import CommandError
from model_export.outside import compare_outside, figures_table
from model_export.populations import read_other_population
from model_export.recipe import Recipe
from model_export.subjects import Subject


def compare_elsewhere(subjects: Sequence[Subject], recipe: Recipe) -> None:
    """Print one table a population. Raises CommandError for a recipe that names none."""
    if not recipe.external:
        raise CommandError(f"{recipe.name}: its recipe has no [[external]] section")
    draws, seed = recipe.calibration.draws, recipe.seed
    for chosen in recipe.external:
        population = read_other_population(chosen)
        print(f"{len(population.items)} items: {chosen.population}")
        rows: list[tuple[str, ...]] = []
        for subject in subjects:
            outside = compare_outside(subject, chosen, population, seed)
            header, *own = figures_table(outside, draws=draws, seed=seed)[1]
            rows = rows or [("", *header)]
            rows += [(subject.key, *row) for row in own]
        print("\n".join(["", *markdown_table(rows), ""]))
