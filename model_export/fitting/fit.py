"""`fit DATA`: find out what the data is, write a recipe, follow it, and say how to ask the model that came of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.core.bundle import read_bundle
from model_export.datasets import Splits
from model_export.datasets.listing import Listing
from model_export.errors import CommandError
from model_export.fitting.asking import curl
from model_export.fitting.chain import Fitted, follow, run_folder
from model_export.fitting.layouts import Layout, find_layout
from model_export.fitting.planning import needed_lines
from model_export.fitting.recipes import Material, Wanted, grouping, lasting, write_recipe
from model_export.fitting.starts import Start, find_starts, small_start, start_from
from model_export.fitting.trying import choose_start
from model_export.populations import read_listing, split_own
from model_export.recipe import Recipe
from model_export.splitting import check_parts, cut
from model_export.subjects import LocalSubject, highest_version, newest

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MINUTES = 10.0
MATCH_MEANS = (
    'say with --match-means what two matching items have in common, as in "of the same product": photographs labelled '
    'by category give "of the same category"'
)


@dataclass(frozen=True)
class Asked:
    """What the command line says; None where it does not."""

    data: Path
    name: str | None
    minutes: float | None
    match_means: str | None
    not_: str | None
    levels: Sequence[str]
    columns: Mapping[str, str]
    modality: str | None
    duplicates: str | None
    start: Path | None
    bundle: Path | None
    models: Path
    runs: Path
    fresh: bool


def fit(asked: Asked) -> None:
    """Write a recipe for the data and follow it; for a recipe, follow that. Raises CommandError in one line."""
    if asked.data.suffix == ".toml":
        _check_alone(asked)
        recipe_path, splits = asked.data, None
    else:
        recipe_path, splits = _write(asked)
    bundle = None if asked.bundle is None else newest(asked.bundle)
    done = follow(recipe_path, models=asked.models, runs=asked.runs, bundle=bundle, fresh=asked.fresh, splits=splits)
    _tell(recipe_path, done, asked.models)


def _check_alone(asked: Asked) -> None:
    """A recipe says itself what would otherwise be asked for."""
    given = {
        "--name": asked.name,
        "--minutes": asked.minutes,
        "--match-means": asked.match_means,
        "--not": asked.not_,
        "--levels": asked.levels,
        "--columns": asked.columns,
        "--modality": asked.modality,
        "--duplicates": asked.duplicates,
        "--from": asked.start,
    }
    if idle := [option for option, value in given.items() if value]:
        raise CommandError(f"{idle[0]}: {asked.data} is a recipe, which says it: edit it there")


def _write(asked: Asked) -> tuple[Path, Splits]:
    """The recipe's path, once it is written, and its data."""
    if asked.bundle is not None and asked.start is not None:
        raise CommandError("--from is to train on, and --bundle trains nothing: give one of them")
    if asked.name is None or not NAME.fullmatch(asked.name):
        raise CommandError("--name is the bundle's: small letters, digits and hyphens, at most 63")
    recipe_path = _recipe_path(asked, asked.name)
    if recipe_path.exists() and not asked.fresh:
        raise CommandError(f"{recipe_path} is there already: fit {recipe_path} follows it, --fresh writes it anew")
    layout = find_layout(asked.data, levels=asked.levels, columns=asked.columns, modality=asked.modality)
    print(f"{layout.path}: {layout.said}")
    if asked.bundle is not None:
        _check_modality(asked.bundle, layout)
    means, not_ = _relation(asked, layout)
    wanted = Wanted(asked.name, _version(asked.models / asked.name), means, not_)
    material, listing = _material(layout, _more(asked))

    def write(path: Path, start: Start, length: Mapping[str, Any]) -> Recipe:
        return write_recipe(path, wanted, material, start, length)

    minutes, small = asked.minutes or MINUTES, small_start(layout.modality, listing.items)
    if asked.bundle is not None:
        small = replace(small, said=f"measures {asked.bundle} as it is: what follows of training does not count")
    recipe = write(recipe_path, small, lasting(minutes))
    run = run_folder(recipe, asked.runs)
    splits = split_own(listing, recipe, run)
    if asked.start is not None:
        write(recipe_path, start_from(asked.start, layout.modality), lasting(minutes))
    elif asked.bundle is None:
        starts = [small, *find_starts(layout.modality, splits, models=asked.models, runs=asked.runs, but=run)]
        write(recipe_path, *choose_start(starts, write, splits, minutes=minutes, folder=run / "tried"))
    print(f"wrote {recipe_path}")
    return recipe_path, splits


def _check_modality(bundle: Path, layout: Layout) -> None:
    kind = read_bundle(newest(bundle)).manifest.modality.name
    if kind != layout.modality:
        raise CommandError(f"{bundle}: of the modality {kind}, and the data is of {layout.modality}")


def _more(asked: Asked) -> dict[str, Any]:
    """Fields of `[data]` that the command line says."""
    frozen = {} if asked.bundle is None else {"frozen": True}
    return frozen | ({} if asked.duplicates is None else {"duplicates": asked.duplicates})


def _recipe_path(asked: Asked, name: str) -> Path:
    """Beside the versions of the bundle; one that measures a bundle of another name is called by its own."""
    if asked.bundle is None:
        return asked.models / name / "recipe.toml"
    return asked.models / read_bundle(newest(asked.bundle)).name / f"{name}.toml"


def _material(layout: Layout, more: Mapping[str, Any]) -> tuple[Material, Listing]:
    """The data, cut; what it could show is printed. Raises CommandError where nothing can be learnt or measured."""
    data = layout.data(**more)
    listing = read_listing(Path(), data, layout.modality)
    splits = cut(listing, data)
    for line in needed_lines(listing, data):
        print(line)
    check_parts(splits, listing.origin)
    grouped = None if listing.pairs else grouping(splits, has_groups=listing.group is not None)
    return Material(layout, more, splits, grouped, listing.unit is not None), listing


def _relation(asked: Asked, layout: Layout) -> tuple[str, str]:
    """What a match means and what it does not: as given, else as answered on a terminal."""
    means, not_ = asked.match_means, asked.not_
    if means is None and sys.stdin.isatty():
        print('What do two matching items have in common? As in "of the same product"; labels by category give "of the')
        means = input('same category". A match means: ').strip()
        not_ = not_ or input("And what does a match not mean (may be left empty)? ").strip()
    if not means:
        raise CommandError(MATCH_MEANS)
    return means, not_ or layout.unsaid


def _version(folder: Path) -> str:
    """1.0.0; where versions are there, the next minor one."""
    highest = highest_version(folder)
    return "1.0.0" if highest is None else f"{highest[0]}.{highest[1] + 1}.0"


def _tell(recipe_path: Path, done: Fitted, models: Path) -> None:
    """The card, where everything lies, and how to ask."""
    subject = LocalSubject(done.bundle)
    serve = "python -m app" if models == Path("models") else f"TWINSERVE_MODELS={models} python -m app"
    print(f"\n{(done.bundle / 'MODEL_CARD.md').read_text('utf-8')}")
    print(f"recipe  {recipe_path}: edit it, raise its version, and: python -m model_export fit {recipe_path}")
    print(f"bundle  {done.bundle}")
    print(f"report  {done.report}")
    print(f"serve   {serve}")
    print(f"ask     {curl(subject, done.splits, done.report.parent)}")
