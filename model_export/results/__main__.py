"""Command line behind docs/results.md and docs/evidence.md: bundles beside floors, by the code that `evaluate` uses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.command_line import add_data, number, run_command
from model_export.floors import FITS

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(_parser(), arguments)


_rate = number("no rate from 0 to 1", lambda rate: 0 <= rate <= 1)
_megapixels = number("no number of megapixels up to 50", lambda size: 0 < size <= 50)


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

    command = commands.add_parser("applicability", help="print how many foreign and own inputs each bundle refuses")
    command.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="or its folder of versions")
    command.add_argument(
        "--recipes", type=Path, default=Path("recipes"), help="folder of the recipes that trained them"
    )
    command.set_defaults(run=_applicability)

    command = commands.add_parser("fill", help="run the commands of a page and put their tables below them")
    command.add_argument("page", type=Path)
    command.add_argument("--matching", default="", metavar="TEXT", help="only commands that hold this text")
    command.set_defaults(run=_fill)

    _add_evidence(commands)
    _add_unlabelled(commands.add_parser("unlabelled", help="print how well `calibrate --items` holds on labelled sets"))

    _add_training(commands)
    return parser


def _add_training(commands: _Commands) -> None:
    """What prepares pairs, trains, or prepares pictures in another way."""
    command = commands.add_parser("own-pairs", help="write ECG-ID's own pairs of held-out people as a table")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="folder of the tables and their items")
    command.set_defaults(run=_own_pairs)

    command = commands.add_parser("leave-one-out", help="train once for each speaker left out, and print what it does")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="folder of run folders")
    command.set_defaults(run=_leave_one_out)

    command = commands.add_parser("losses", help="train with each loss and choice of pairs, and print what each gives")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="folder of run folders; a stopped command goes on")
    command.add_argument("--target", type=float, default=0.99, help="validation AUC to which steps are counted")
    command.set_defaults(run=_losses)

    command = commands.add_parser("scaled-jpeg", help="print what decoding JPEGs at a part of their size changes")
    command.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    command.add_argument("--recipe", type=Path, required=True, help="names the pictures")
    command.add_argument("--megapixels", type=_megapixels, help="enlarge every picture to so many")
    command.set_defaults(run=_scaled_jpeg)


def _add_evidence(commands: _Commands) -> None:
    """What docs/evidence.md is made with."""
    command = commands.add_parser("base-rates", help="print how many verdicts are wrong, by how common matches are")
    command.add_argument("--fmr", type=_rate, required=True)
    command.add_argument("--fnmr", type=_rate, required=True)
    command.set_defaults(run=_base_rates)

    point = argparse.ArgumentParser(add_help=False)
    point.add_argument("--point", metavar="TYPE:NAME", help="as random:fmr_1e-2; the default one when left out")

    command = commands.add_parser("types", parents=[point], help="print how often each impostor type matches")
    command.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    command.set_defaults(run=_types)

    command = commands.add_parser("claims", parents=[point], help="print a point's claim beside what pairs show of it")
    command.add_argument("bundle", type=Path)
    command.add_argument("--pairs", type=Path, required=True, metavar="FILE")
    command.set_defaults(run=_claims)


def _add_unlabelled(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path)
    add_data(command)
    command.add_argument("--items", type=int, default=600, help="items of a collection, about (600)")
    command.add_argument("--ask", type=int, nargs="+", default=[50] * 4, metavar="N", help="questions of each round")
    command.add_argument("--repeats", type=int, default=200)
    command.add_argument("--seed", type=int, default=0, help="of the draws of collections and questions (0)")
    command.set_defaults(run=_unlabelled)


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


def _applicability(chosen: argparse.Namespace) -> None:
    from model_export.results.applicability import compare_applicability

    compare_applicability(chosen.bundles, chosen.recipes)


def _fill(chosen: argparse.Namespace) -> None:
    from model_export.results.filling import fill

    fill(chosen.page, chosen.matching)


def _base_rates(chosen: argparse.Namespace) -> None:
    from model_export.results.base_rates import print_base_rates

    print_base_rates(chosen.fmr, chosen.fnmr)


def _types(chosen: argparse.Namespace) -> None:
    from model_export.results.claims import print_types

    print_types(chosen.bundles, chosen.point)


def _claims(chosen: argparse.Namespace) -> None:
    from model_export.results.claims import print_claims

    print_claims(chosen.bundle, chosen.pairs, chosen.point)


def _unlabelled(chosen: argparse.Namespace) -> None:
    from model_export.pairs import read_pairs
    from model_export.recipe import read_recipe
    from model_export.results.unlabelled import compare_unlabelled, embed_recipe, embed_table
    from model_export.subjects import LocalSubject

    subject = LocalSubject(chosen.bundle)
    if chosen.recipe is not None:
        sets = embed_recipe(subject, read_recipe(chosen.recipe))
    else:
        sets = iter([embed_table(subject, chosen.pairs.name, read_pairs(chosen.pairs, subject.form))])
    compare_unlabelled(sets, items=chosen.items, questions=chosen.ask, repeats=chosen.repeats, seed=chosen.seed)


def _own_pairs(chosen: argparse.Namespace) -> None:
    from model_export.results.own_pairs import write_own_pairs

    write_own_pairs(chosen.recipe, chosen.out)


def _leave_one_out(chosen: argparse.Namespace) -> None:
    from model_export.results.leave_one_out import leave_one_out

    leave_one_out(chosen.recipe, chosen.out)


def _losses(chosen: argparse.Namespace) -> None:
    from model_export.results.losses import compare_losses

    compare_losses(chosen.recipe, chosen.out, chosen.target)


def _scaled_jpeg(chosen: argparse.Namespace) -> None:
    from model_export.results.scaled_jpeg import compare_decoding

    compare_decoding(chosen.bundles, chosen.recipe, chosen.megapixels)


if __name__ == "__main__":
    sys.exit(main())
