"""The command line: turns arguments and environment into settings, and faults in them into one line. No service."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app import __version__
from app.settings import TUNED, Settings, explain, unknown_variables

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. No command means `serve`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help", "--version")):
        given.insert(0, "serve")
    flags = vars(_parser().parse_args(given))
    status: int = flags.pop("run")(flags)
    return status


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
    serve.set_defaults(run=_serve)
    tune = commands.add_parser(
        "tune",
        help="measure which settings suit this machine and these bundles",
        description="Measure workers, threads and batches, and write what serve then uses: see docs/tuning.md.",
    )
    tune.add_argument(
        "--seconds", type=_seconds, default=1.0, metavar="S", help="seconds a figure and round; default 1"
    )
    tune.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write; default: tuned.env in TWINSERVE_STATE_DIR"
    )
    tune.set_defaults(run=_tune)
    _add_embed_files(
        commands.add_parser(
            "embed-files",
            help="embed a folder or a table of items into Parquet",
            description="Embed a folder, or a table in Parquet, CSV or JSON lines: see docs/embedding-files.md.",
        )
    )
    _add_key(
        commands.add_parser(
            "key",
            help="make a key for one caller",
            description="Make a key: its secret, shown once, on stderr; on stdout its entry in TWINSERVE_KEYS_FILE: "
            "see docs/access.md.",
        )
    )
    reload = commands.add_parser(
        "reload",
        help="have the running service read its models again",
        description="Have the service on TWINSERVE_STATE_DIR read its models again: see docs/reloading.md.",
    )
    reload.set_defaults(run=_reload)
    replay = commands.add_parser(
        "replay",
        help="take a recorded verdict again",
        description="Check a record, take its verdict again, and exit with 0 where it holds: see docs/records.md.",
    )
    replay.add_argument("record", type=Path, metavar="RECORD", help="file with the record, or one of decisions")
    replay.add_argument("items", nargs="+", metavar="ITEM", help="files: a and b, or the probe and a reference's items")
    replay.add_argument("--text", action="store_true", dest="as_text", help="the items are texts, not names of files")
    replay.add_argument("--request-id", metavar="ID", help="the record of this request, where the file has several")
    replay.add_argument("--pointer", help="the record of this place in its request, such as /pairs/3")
    replay.add_argument("--key", type=Path, metavar="PEM", help="key that must have signed it, or its public half")
    replay.add_argument("--models", metavar="DIR", help=Settings.model_fields["models"].description)
    replay.set_defaults(run=_replay)
    return parser


def _add_key(key: argparse.ArgumentParser) -> None:
    key.add_argument("id", help="name of the caller, as the log is to show it")
    key.add_argument("--scopes", nargs="+", default=["compare"], metavar="SCOPE", help="compare, embed, admin")
    key.add_argument("--models", nargs="+", metavar="MODEL", help="names or name@version; default: all")
    key.add_argument("--rate-per-s", type=float, metavar="N", help="comparisons or embeddings a second; default: any")
    key.add_argument("--burst", type=int, metavar="N", help="so many at once; default: those of one second")
    key.add_argument("--disclosure", default="full", metavar="full|verdict", help="verdict: no scores, no embeddings")
    key.set_defaults(run=_key)


def _add_embed_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", type=Path, metavar="FOLDER|TABLE")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards; a run goes on")
    command.add_argument("--model", metavar="NAME", help="default: TWINSERVE_DEFAULT_MODEL, else the only one")
    command.add_argument("--models", metavar="DIR", help=Settings.model_fields["models"].description)
    command.add_argument("--column", metavar="NAME", help="of a table, what holds the items: text, path, item or bytes")
    command.add_argument("--id", dest="id_column", metavar="NAME", help="what they are called: id, else their number")
    command.add_argument(
        "--shard", dest="shard_items", type=_count, default=1000, metavar="N", help="items a file; 1000"
    )
    command.add_argument("--workers", metavar="N", help="processes; default: one a usable CPU")
    command.add_argument("--ray", metavar="ADDRESS", help="embed on this Ray cluster: host:port, ray://..., or auto")
    command.set_defaults(run=_embed_files)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 3600")
    return seconds


def _settings(**flags: Any) -> Settings | None:
    """The settings of this run, or None after what is wrong with them was said."""
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        print(f"twinserve: {explain(error)}", file=sys.stderr)
        return None
    except (OSError, UnicodeDecodeError) as error:
        print(f"twinserve: {TUNED} in the state folder cannot be read: {error}", file=sys.stderr)
        return None
    if unknown := unknown_variables(os.environ):
        print(f"twinserve: warning: unknown settings are ignored: {', '.join(unknown)}", file=sys.stderr)
    return settings


def _serve(flags: dict[str, Any]) -> int:
    settings = _settings(**flags)
    if settings is None:
        return USAGE_ERROR
    if settings.url_hosts is not None and importlib.util.find_spec("httpcore2") is None:
        print("twinserve: TWINSERVE_URL_HOSTS needs the package httpcore2: install twinserve[url]", file=sys.stderr)
        return USAGE_ERROR
    # A wrong setting is told before anything heavy is imported.
    from app.runtime.cpus import available_cpus  # noqa: PLC0415
    from app.supervisor import serve  # noqa: PLC0415
    from app.tuning.file import doubt  # noqa: PLC0415

    if settings.tuned is not None and (line := doubt(settings.tuned, available_cpus())) is not None:
        print(f"twinserve: warning: {line}", file=sys.stderr)
    return serve(settings)


def _tune(flags: dict[str, Any]) -> int:
    settings = _settings()
    if settings is None:
        return USAGE_ERROR
    from app.tuning.running import tune  # noqa: PLC0415

    return tune(settings, **flags)


def _embed_files(flags: dict[str, Any]) -> int:
    settings = _settings(models=flags.pop("models"), workers=flags.pop("workers"))
    if settings is None:
        return USAGE_ERROR
    from app.embedding_files.running import Order, embed_files  # noqa: PLC0415

    return embed_files(settings, Order(**flags))


def _key(flags: dict[str, Any]) -> int:
    from app.access import make_entry  # noqa: PLC0415
    from app.core.errors import KeysRefused  # noqa: PLC0415

    try:
        secret, table = make_entry(flags.pop("id"), flags.pop("scopes"), **flags)
    except KeysRefused as error:
        print(f"twinserve key: {error.detail}", file=sys.stderr)
        return USAGE_ERROR
    print(f"{secret}\nThis is the secret, shown once; append the table to the file of keys.", file=sys.stderr)
    print(table)
    return 0


def _reload(_: dict[str, Any]) -> int:
    settings = _settings()
    if settings is None:
        return USAGE_ERROR
    from app.supervisor.commands import ask_to_reload  # noqa: PLC0415

    return ask_to_reload(settings.state_dir)


def _replay(flags: dict[str, Any]) -> int:
    settings = _settings(models=flags.pop("models"))
    if settings is None:
        return USAGE_ERROR
    from app.replay import replay  # noqa: PLC0415

    return replay(settings, **flags)
