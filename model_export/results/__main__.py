"""Command line behind docs/results.md: bundles beside floors, by the code that `evaluate` uses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_export.command_line import add_data, run_command
from model_export.floors import FITS


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export.results", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    floors = tuple(FITS)

    command = commands.add_parser("compare", help="print one table of bundles and of comparisons without learning")
    command.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    command.add_argument("--floor", choices=floors, action="append", default=[], help="see model_export/floors")
    add_data(command)
    command.set_defaults(run=_compare)

    command = commands.add_parser("nearest", help="print 1-nearest-neighbour accuracy on a set's official parts")
    command.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    command.add_argument("--floor", choices=floors, action="append", default=[])
    command.add_argument("--recipe", type=Path, required=True, help="names the data")
    command.set_defaults(run=_nearest)

    command = commands.add_parser("elsewhere", help="print a table of each other population that a recipe names")
    command.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    command.add_argument("--floor", choices=floors, action="append", default=[])
    command.add_argument("--recipe", type=Path, required=True, help="names the populations")
    command.set_defaults(run=_elsewhere)

    command = commands.add_parser("catalogue", help="print how often photographs find their catalogue picture")
    command.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    command.add_argument("--floor", choices=floors, action="append", default=[])
    command.add_argument("--recipe", type=Path, required=True, help="names the data")
    command.set_defaults(run=_catalogue)

    command = commands.add_parser("one-shot", help="print how often the nearest of 20 references is the right one")
    command.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE")
    command.add_argument("--floor", choices=floors, action="append", default=[])
    command.add_argument("--recipe", type=Path, required=True, help="names the data")
    command.set_defaults(run=_one_shot)

    command = commands.add_parser("fill", help="run the commands of a page and put their tables below them")
    command.add_argument("page", type=Path)
    command.add_argument("--matching", default="", metavar="TEXT", help="only commands that hold this text")
    command.set_defaults(run=_fill)

    command = commands.add_parser("own-pairs", help="write ECG-ID's own pairs of held-out people as a table")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="folder of the tables and their items")
    command.set_defaults(run=_own_pairs)

    command = commands.add_parser("leave-one-out", help="train once for each speaker left out, and print what it does")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="folder of run folders")
    command.set_defaults(run=_leave_one_out)
    return parser


# Each command imports its own libraries: help needs nothing.


def _compare(chosen: argparse.Namespace) -> None:
    from model_export.recipe import read_recipe
    from model_export.results.compare import compare_on_pairs, compare_on_recipe, make_subjects

    recipe = chosen.recipe and read_recipe(chosen.recipe)
    subjects = make_subjects(chosen.bundles, chosen.floor, recipe)
    if recipe is None:
        compare_on_pairs(subjects, chosen.pairs)
    else:
        compare_on_recipe(subjects, recipe)


def _nearest(chosen: argparse.Namespace) -> None:
    from model_export.recipe import read_recipe
    from model_export.results.compare import make_subjects
    from model_export.results.nearest import compare_nearest

    recipe = read_recipe(chosen.recipe)
    compare_nearest(make_subjects(chosen.bundles, chosen.floor, recipe), recipe)


def _elsewhere(chosen: argparse.Namespace) -> None:
    from model_export.recipe import read_recipe
    from model_export.results.compare import make_subjects
    from model_export.results.elsewhere import compare_elsewhere

    recipe = read_recipe(chosen.recipe)
    compare_elsewhere(make_subjects(chosen.bundles, chosen.floor, recipe), recipe)


def _catalogue(chosen: argparse.Namespace) -> None:
    from model_export.recipe import read_recipe
    from model_export.results.catalogue import compare_catalogue
    from model_export.results.compare import make_subjects

    recipe = read_recipe(chosen.recipe)
    compare_catalogue(make_subjects(chosen.bundles, chosen.floor, recipe), recipe)


def _one_shot(chosen: argparse.Namespace) -> None:
    from model_export.recipe import read_recipe
    from model_export.results.compare import make_subjects
    from model_export.results.one_shot import compare_one_shot

    recipe = read_recipe(chosen.recipe)
    compare_one_shot(make_subjects(chosen.bundles, chosen.floor, recipe), recipe)


def _fill(chosen: argparse.Namespace) -> None:
    from model_export.results.filling import fill

    fill(chosen.page, chosen.matching)


def _own_pairs(chosen: argparse.Namespace) -> None:
    from model_export.results.own_pairs import write_own_pairs

    write_own_pairs(chosen.recipe, chosen.out)


def _leave_one_out(chosen: argparse.Namespace) -> None:
    from model_export.results.leave_one_out import leave_one_out

    leave_one_out(chosen.recipe, chosen.out)


if __name__ == "__main__":
    sys.exit(main())
