"""The command line of `adapt`."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_export.fitting.command import add_layout, add_relation, named_columns


def add_adapt(command: argparse.ArgumentParser) -> None:
    """Options of `adapt`."""
    command.add_argument("bundle", type=Path, help="an fp32 bundle; it stays as it is")
    command.add_argument("--data", type=Path, required=True, help="a folder or a table of your own; docs/your-data.md")
    add_layout(command)
    command.add_argument(
        "--split-by", choices=("identity", "unit", "group"), help="what is never in two parts, as data.split_by says"
    )
    command.add_argument("--name", help="the new bundle's: small letters, digits and hyphens; NAME-adapted if left out")
    add_relation(command)
    command.add_argument(
        "--duplicates", choices=("stop", "drop"), default="stop", help="what copies across parts do: stop it, or leave"
    )
    command.add_argument("--out", type=Path, help="folder of bundles; the one the bundle lies in when left out")
    command.set_defaults(run=_adapt)


def _adapt(chosen: argparse.Namespace) -> None:
    from model_export.adapting.adapt import Asked, adapt  # noqa: PLC0415 - help needs no library

    written = adapt(
        Asked(
            bundle=chosen.bundle,
            data=chosen.data,
            levels=chosen.levels,
            columns=named_columns(chosen),
            modality=chosen.modality,
            split_by=chosen.split_by,
            name=chosen.name,
            match_means=chosen.match_means,
            not_=chosen.not_,
            duplicates=chosen.duplicates,
            models=chosen.out,
        )
    )
    print(f"wrote {written}")
