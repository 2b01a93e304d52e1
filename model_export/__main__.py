"""Command line of the offline half: train, export, calibrate, evaluate. Each fails with one clear line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.core.errors import TwinserveError
from model_export.errors import CommandError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except CommandError as failure:
        print(f"{chosen.command}: {failure}", file=sys.stderr)
        return 1
    except TwinserveError as error:
        print(f"{chosen.command}: {error.detail}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{chosen.command}: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{chosen.command}: stopped; what was written so far is kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", help="follow a recipe and write a run folder")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="run folder")
    command.set_defaults(run=_train)

    command = commands.add_parser("export", help="write a run's encoder as a bundle, after the parity gate")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, required=True, help="folder of bundles")
    command.set_defaults(run=_export)

    command = commands.add_parser("calibrate", help="measure a bundle and write its next version with the evidence")
    command.add_argument("bundle", type=Path)
    command.add_argument("--recipe", type=Path, required=True, help="names the data, its units and its impostors")
    command.add_argument("--out", type=Path, help="folder of bundles; the one the bundle lies in when left out")
    command.set_defaults(run=_calibrate)

    command = commands.add_parser("evaluate", help="print and draw what a bundle does on its test identities")
    command.add_argument("bundle", type=Path)
    command.add_argument("--recipe", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True, help="folder for report.html and its pictures")
    command.set_defaults(run=_evaluate)
    return parser


# Each command imports its own libraries: evaluating needs no torch, and help needs nothing.


def _train(chosen: argparse.Namespace) -> None:
    from model_export.train import train

    train(chosen.recipe, chosen.out)


def _export(chosen: argparse.Namespace) -> None:
    from model_export.export import export

    print(f"wrote {export(chosen.folder, chosen.out)}")


def _calibrate(chosen: argparse.Namespace) -> None:
    from model_export.calibrate import calibrate

    print(f"wrote {calibrate(chosen.bundle, chosen.recipe, chosen.out or chosen.bundle.resolve().parents[1])}")


def _evaluate(chosen: argparse.Namespace) -> None:
    from model_export.evaluate import evaluate

    evaluate(chosen.bundle, chosen.recipe, chosen.out)


if __name__ == "__main__":
    sys.exit(main())
