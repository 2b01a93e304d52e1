"""Command line of the offline half: encoders are trained, imported, exported, measured. Errors are one clear line."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.adapting.command import add_adapt
from model_export.command_line import add_data, run_command, said, whole
from model_export.errors import CommandError
from model_export.fitting.command import add_fit, add_plan
from model_export.floors import FITS, NONE
from model_export.importing.command import add_import

if TYPE_CHECKING:
    from model_export.pairs import Words

    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


BESIDE = Path()
"""Stands for `--draft-spec` without a name."""
SHEET = "answers.csv"
FEWEST_QUESTIONS = 10
HELD_STATUS = {"holds": 0, "higher": 3, "too few to say": 4, None: 4}
"""Exit status of `evaluate --url --pairs` by what became of the claims; None: nothing is claimed."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model_export", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    add_fit(commands.add_parser("fit", help="from your own data to a served verdict: everything below, in one"))
    add_plan(commands.add_parser("plan", help="what your own data could show, and how it would be cut"))

    command = commands.add_parser("train", help="follow a recipe and write a run folder, or go on with one")
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, required=True, help="run folder; a run of this recipe in it goes on")
    command.add_argument("--fresh", action="store_true", help="begin anew, whatever run the folder holds")
    command.set_defaults(run=_train)

    command = commands.add_parser("export", help="write a run's encoder as a bundle, after the parity gate")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.add_argument("--out", type=Path, required=True, help="folder of bundles")
    command.set_defaults(run=_export)

    add_adapt(commands.add_parser("adapt", help="a head on the embeddings of a bundle that is left as it is"))
    _add_quantize(commands.add_parser("quantize", help="the same encoder in less precision, as a bundle of its own"))
    _add_calibrate(commands.add_parser("calibrate", help="measure a bundle; write its next version with the evidence"))
    _add_evaluate(commands.add_parser("evaluate", help="print and draw what a bundle or a running service does"))
    add_import(commands.add_parser("import", help="write an encoder that others trained as a bundle"))

    command = commands.add_parser("sign", help="sign a bundle's files, so that a service can refuse any other's")
    command.add_argument("bundle", type=Path)
    command.add_argument("--key", type=Path, required=True, metavar="PEM", help="private key on P-256, P-384 or P-521")
    command.set_defaults(run=_sign)

    command = commands.add_parser("inspect", help="print what a bundle is, or what an ONNX file takes and gives")
    command.add_argument("path", type=Path, metavar="BUNDLE_OR_FILE")
    command.add_argument(
        "--draft-spec",
        nargs="?",
        type=Path,
        const=BESIDE,
        metavar="SPEC",
        help="write a spec for `import onnx`, every guess marked; beside the file, called as it, when no name is given",
    )
    command.set_defaults(run=_inspect)
    return parser


def _add_calibrate(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path)
    data = add_data(command)
    data.add_argument("--items", type=Path, metavar="DIR|TABLE", help="items that nobody labelled")
    command.add_argument("--out", type=Path, help="folder of bundles; the one the bundle lies in when left out")
    asking = command.add_argument_group("with --items", "what a person says of a few pairs; see docs/calibrating.md")
    asking.add_argument(
        "--ask",
        type=whole("questions", FEWEST_QUESTIONS, 10_000),
        metavar="N",
        help="add N questions to the sheet; publishes nothing",
    )
    asking.add_argument("--answers", type=Path, metavar="FILE", help=f"the sheet of questions ({SHEET} for --ask)")
    _add_words(command)
    command.set_defaults(run=_calibrate)


def _add_quantize(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path, help="the fp32 bundle")
    command.add_argument("--precision", choices=("fp16", "int8"), required=True)
    add_data(command)
    command.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="for fp16: the run folder, or the sentence-transformers directory, that the bundle was made from",
    )
    command.add_argument("--out", type=Path, help="folder of bundles; the one the bundle lies in when left out")
    _add_words(command)
    command.set_defaults(run=_quantize)


def _add_words(command: argparse.ArgumentParser) -> None:
    own = command.add_argument_group("with --pairs and --items", "what the evidence and every verdict on it will say")
    own.add_argument(
        "--population", type=said, metavar="WORDS", help="what was measured; the table's name when left out"
    )
    own.add_argument("--unit", type=said, metavar="WORD", help="what is counted, as in 'customer'")
    own.add_argument(
        "--valid-for-days", type=whole("days", 1, 36500), metavar="N", help="how long the evidence holds (730)"
    )
    own.add_argument("--impostor", nargs="+", metavar="WORDS", help="what does not match: words, or TYPE=words each")


def _add_evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path, nargs="?")
    command.add_argument("--url", help="a running service instead of a bundle, as http://localhost:8000")
    command.add_argument("--model", metavar="NAME", help="with --url: which of its models")
    add_data(command)
    command.add_argument(
        "--floor", choices=(*FITS, NONE), help="comparison without learning beside every figure; by recipe or modality"
    )
    command.add_argument(
        "--point",
        metavar="TYPE:NAME",
        help="with --pairs: the claim that decides where none is refuted, as random:fmr_1e-2 (the default one)",
    )
    command.add_argument("--out", type=Path, help="folder for report.html, its pictures and hardest.csv")
    command.set_defaults(run=_evaluate)


# Each command imports its own libraries: evaluating needs no torch, and help needs nothing.


def _train(chosen: argparse.Namespace) -> None:
    from model_export.training import train

    train(chosen.recipe, chosen.out, fresh=chosen.fresh)


def _export(chosen: argparse.Namespace) -> None:
    from model_export.export import export

    print(f"wrote {export(chosen.folder, chosen.out)}")


def _calibrate(chosen: argparse.Namespace) -> None:
    from model_export.calibrate import calibrate_pairs, calibrate_recipe

    if chosen.items is not None:
        _calibrate_items(chosen)
        return
    if chosen.ask is not None or chosen.answers is not None:
        raise CommandError("--ask and --answers go with --items")
    words, models = _words_of(chosen), _models_of(chosen)
    if chosen.recipe is None:
        written = calibrate_pairs(chosen.bundle, chosen.pairs, models, words)
    else:
        written = calibrate_recipe(chosen.bundle, chosen.recipe, models)
    print(f"wrote {written}")


def _calibrate_items(chosen: argparse.Namespace) -> None:
    from model_export.unlabelled.calibrating import ask, calibrate_items

    words = _words_of(chosen)
    if chosen.ask is None:
        print(f"wrote {calibrate_items(chosen.bundle, chosen.items, _models_of(chosen), words, chosen.answers)}")
        return
    sheet = chosen.answers or Path(SHEET)
    page = ask(chosen.bundle, chosen.items, chosen.ask, sheet, carry_on=chosen.answers is not None)
    print(f"wrote {sheet} and {page}: answer in either, then run this with --answers {sheet}, with or without --ask")


def _quantize(chosen: argparse.Namespace) -> None:
    from model_export.quantize import quantize_pairs, quantize_recipe

    words, models = _words_of(chosen), _models_of(chosen)
    given = chosen.bundle, chosen.precision
    if chosen.recipe is None:
        written = quantize_pairs(*given, chosen.pairs, models, words, source=chosen.source)
    else:
        written = quantize_recipe(*given, chosen.recipe, models, source=chosen.source)
    print(f"wrote {written}")


def _models_of(chosen: argparse.Namespace) -> Path:
    models: Path = chosen.out or chosen.bundle.resolve().parents[1]
    return models


def _words_of(chosen: argparse.Namespace) -> Words:
    """What the caller says of a table of pairs. Raises CommandError where a recipe says it."""
    from model_export.pairs import Words

    given = {name: getattr(chosen, name) for name in ("population", "unit", "valid_for_days")}
    words = {name: value for name, value in given.items() if value is not None}
    if chosen.recipe is not None and (words or chosen.impostor):
        raise CommandError("a recipe says itself what --population, --unit, --valid-for-days and --impostor say")
    return Words(**words, impostors=chosen.impostor or ())


def _evaluate(chosen: argparse.Namespace) -> int:
    """The status says whether a running service's claims hold; of a bundle they are printed like everything else."""
    from model_export.evaluate import evaluate_pairs, evaluate_recipe
    from model_export.subjects import LocalSubject, open_service

    if (chosen.bundle is None) == (chosen.url is None) or (chosen.url is None) != (chosen.model is None):
        raise CommandError("give a bundle, or --url with --model")
    if chosen.recipe is not None and chosen.point is not None:
        raise CommandError("--point goes with --pairs")
    service = nullcontext() if chosen.url is None else open_service(chosen.url, chosen.model)
    with service as remote:
        subject = remote or LocalSubject(chosen.bundle)
        if chosen.recipe is None:
            outcome = evaluate_pairs(subject, chosen.pairs, chosen.out, chosen.floor, chosen.point)
            return 0 if remote is None else HELD_STATUS[outcome]
        evaluate_recipe(subject, chosen.recipe, chosen.out, chosen.floor)
    return 0


def _sign(chosen: argparse.Namespace) -> None:
    from model_export.signing import sign

    print(f"wrote {sign(chosen.bundle, chosen.key)}")


def _inspect(chosen: argparse.Namespace) -> None:
    from model_export.inspecting import inspect

    inspect(chosen.path, chosen.path.with_suffix(".toml") if chosen.draft_spec == BESIDE else chosen.draft_spec)


if __name__ == "__main__":
    sys.exit(main())
