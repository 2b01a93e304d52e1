"""The command line: turns arguments and environment into settings, and faults in them into one line. No service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from app import __version__
from app.settings import Settings, explain, unknown_variables

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. No command means `serve`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given.insert(0, "serve")
    return _serve(_parser().parse_args(given))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twinserve", description="Serve twin encoders whose every verdict names its measured error rates."
    )
    parser.add_argument("--version", action="version", version=f"twinserve {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. Everything else is set by TWINSERVE_ variables: see docs/settings.md.",
    )
    for name in ("models", "host", "port", "workers"):
        field = Settings.model_fields[name]
        serve.add_argument(
            f"--{name}", metavar="DIR" if name == "models" else name.upper(), help=field.description, default=None
        )
    return parser


def _serve(flags: argparse.Namespace) -> int:
    try:
        settings = Settings(**{name: value for name, value in vars(flags).items() if value is not None})
    except ValidationError as error:
        print(f"twinserve: {explain(error)}", file=sys.stderr)
        return USAGE_ERROR
    if unknown := unknown_variables(os.environ):
        print(f"twinserve: warning: unknown settings are ignored: {', '.join(unknown)}", file=sys.stderr)
    from app.supervisor import serve  # noqa: PLC0415  (a wrong setting is told before anything heavy is imported)

    return serve(settings)
