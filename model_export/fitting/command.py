"""The command lines of `fit` and `plan`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from model_export.command_line import number, said
from model_export.errors import CommandError

MODALITIES = ("image", "text", "audio", "series")
_minutes = number("no number of minutes above 0", lambda minutes: 0 < minutes <= 10_000)


def add_fit(command: argparse.ArgumentParser) -> None:
    """Options of `fit`."""
    _add_data(command, "a folder or a table of your own, or a recipe that fit wrote")
    command.add_argument("--name", help="the bundle's: small letters, digits and hyphens")
    command.add_argument("--minutes", type=_minutes, metavar="N", help="time to train in (10); measuring comes on top")
    add_relation(command)
    command.add_argument(
        "--duplicates", choices=("stop", "drop"), help="what copies across parts do: stop it, or be left out (stop)"
    )
    command.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="DIR",
        help="weights to begin with: a run folder, or a directory of sentence-transformers; else those that lie in the "
        "folders of bundles and runs are tried beside the small network",
    )
    command.add_argument(
        "--bundle", type=Path, help="train nothing: measure this bundle as it is, on all that the data holds"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path(os.environ.get("TWINSERVE_MODELS") or "models"),
        help="folder of bundles, where the recipe lies too (TWINSERVE_MODELS, else models)",
    )
    command.add_argument("--runs", type=Path, default=Path("runs"), help="folder of trainings and reports (runs)")
    command.add_argument("--fresh", action="store_true", help="write the recipe anew, and train anew")
    command.set_defaults(run=_fit)


def add_plan(command: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    _add_data(command, "a folder or a table of your own")
    command.add_argument(
        "--frozen", action="store_true", help="nothing trains: all identities measure an encoder that is there already"
    )
    command.set_defaults(run=_plan)


def _add_data(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("data", type=Path, metavar="DATA", help=f"{what}; see docs/your-data.md")
    add_layout(command)


def add_layout(command: argparse.ArgumentParser) -> None:
    """Options that say of a folder or a table what cannot be seen."""
    command.add_argument(
        "--levels", nargs="+", default=(), metavar="LEVEL", help="what nested folders are, from the outside in"
    )
    command.add_argument(
        "--columns", nargs="+", default=(), metavar="ROLE=NAME", help="what columns are called, as identity=product"
    )
    command.add_argument("--modality", choices=MODALITIES, help="what the items are, where it cannot be seen")


def add_relation(command: argparse.ArgumentParser) -> None:
    """Options that say what a match means."""
    command.add_argument("--match-means", type=said, metavar="WORDS", help="what two matching items have in common")
    command.add_argument("--not", dest="not_", type=said, metavar="WORDS", help="what a match does not mean")


def named_columns(chosen: argparse.Namespace) -> dict[str, str]:
    """What `--columns` says, by role. Raises CommandError for what is no ROLE=NAME."""
    named = dict(one.split("=", 1) for one in chosen.columns if "=" in one)
    if len(named) < len(chosen.columns):
        raise CommandError("--columns takes ROLE=NAME, each role once, as in identity=product")
    return named


def _fit(chosen: argparse.Namespace) -> None:
    from model_export.fitting.fit import Asked, fit  # noqa: PLC0415 - help needs no library

    fit(
        Asked(
            data=chosen.data,
            name=chosen.name,
            minutes=chosen.minutes,
            match_means=chosen.match_means,
            not_=chosen.not_,
            levels=chosen.levels,
            columns=named_columns(chosen),
            modality=chosen.modality,
            duplicates=chosen.duplicates,
            start=chosen.start,
            bundle=chosen.bundle,
            models=chosen.out,
            runs=chosen.runs,
            fresh=chosen.fresh,
        )
    )


def _plan(chosen: argparse.Namespace) -> None:
    from model_export.fitting.layouts import find_layout  # noqa: PLC0415
    from model_export.fitting.planning import plan  # noqa: PLC0415

    columns = named_columns(chosen)
    plan(
        find_layout(chosen.data, levels=chosen.levels, columns=columns, modality=chosen.modality), frozen=chosen.frozen
    )
