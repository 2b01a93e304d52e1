"""What both command lines of the offline half share: how a command is run, and how its failure is told in one line."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path

from app.core.errors import TwinserveError
from model_export.errors import CommandError

OWN = frozenset({"app", "model_export"})
MEASURING = frozenset({"httpx", "matplotlib", "onnx", "onnxruntime", "rich", "scipy", "sklearn", "PIL", "tokenizers"})
"""Packages of the extra `measure`, as they are imported; the others are of `train`."""


def missing(package: str) -> str:
    """What to do where a package is not installed, in one line."""
    extra = "measure" if package in MEASURING else "train"
    return f"needs the package {package!r}: install twinserve[{extra}]"


def run_command(parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Run the command that `arguments` name; returns the exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped, or
    what the command itself gives.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a log, too, each line stands where it was said
    chosen = parser.parse_args(arguments)
    try:
        status: int | None = chosen.run(chosen)
    except CommandError as failure:
        print(f"{chosen.command}: {failure}", file=sys.stderr)
        return 1
    except TwinserveError as error:
        print(f"{chosen.command}: {error.detail}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN:
            raise
        print(f"{chosen.command}: {missing(package)}", file=sys.stderr)
        return 1
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
        print(f"{chosen.command}: {said}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"{chosen.command}: {str(stop) or 'stopped; what was written so far is kept'}", file=sys.stderr)
        return 130
    return status or 0


def add_data(command: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The two ways to say what is measured, one of which must be given; returns their group, for a third."""
    data = command.add_mutually_exclusive_group(required=True)
    data.add_argument("--recipe", type=Path, help="names the data, its units and its impostors")
    data.add_argument("--pairs", type=Path, metavar="FILE", help="labelled pairs; see docs/calibrating.md")
    return data


def whole(what: str, least: int, most: int) -> Callable[[str], int]:
    """Whole numbers from `least` to `most`, as an argument's type; `what` they are, for its error."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {what} from {least} to {most}")
        return int(text)

    return read


def number(words: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """Numbers that fit, as an argument's type; `words` say for its error what the text is not."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text!r} is {words}")
        return value

    return read


def said(text: str) -> str:
    """Words that say something, as an argument's type."""
    if not text.strip():
        raise argparse.ArgumentTypeError("says nothing")
    return text
