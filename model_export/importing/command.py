"""`import SOURCE`: what it takes, and what it does. Each source imports its own libraries, so that help needs none."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from model_export.errors import needing

if TYPE_CHECKING:
    from model_export.importing.declaring import Declared


def add_import(command: argparse.ArgumentParser) -> None:
    """Add the sources, each with its options."""
    sources = command.add_subparsers(dest="source", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, default=Path("models"), help="folder of bundles (models)")
    declared = argparse.ArgumentParser(add_help=False, parents=[common])
    declared.add_argument("--name", help="the bundle's name; from the source where left out")
    declared.add_argument("--version", default="1.0.0", help="the bundle's version (1.0.0)")
    declared.add_argument("--match-means", help="what two matching items have in common")
    declared.add_argument("--not", dest="not_", help="what a match does not mean")
    declared.add_argument("--intended-use")
    declared.add_argument("--weights-licence", help="README.md's where left out and stated there")
    declared.add_argument("--data-licence", help="licence of the data that the weights were trained on")

    source = sources.add_parser("sentence-transformers", parents=[declared], help="a directory of that library")
    source.add_argument("path", metavar="DIR_OR_NAME")
    source.add_argument("--metric", choices=("cosine", "euclidean"), help="where the model's own is neither")
    source.add_argument(
        "--window-overlap", type=int, metavar="TOKENS", help="cut long texts into windows that share so many tokens"
    )
    source.set_defaults(run=_import_sentence_encoder)

    source = sources.add_parser("onnx", parents=[common], help="an ONNX file, and a spec that says what it takes")
    source.add_argument("path", type=Path, metavar="FILE")
    source.add_argument("--spec", type=Path, required=True, help="see docs/importing.md; inspect drafts one")
    source.add_argument(
        "--reference",
        type=Path,
        metavar="NPZ",
        help="items, and the vectors that the owner's own pipeline gives for them; else those that the spec names",
    )
    source.set_defaults(run=_import_onnx)

    source = sources.add_parser("timm", parents=[declared], help="a backbone of timm, where that is installed")
    source.add_argument("path", metavar="NAME")
    source.add_argument(
        "--pretrained", nargs="?", const=True, metavar="FILE", help="timm's own weights, or those in a file"
    )
    source.set_defaults(run=_import_timm)


def _import_sentence_encoder(chosen: argparse.Namespace) -> None:
    with needing("import"):
        from model_export.importing.sentence_encoders import Choices, import_sentence_encoder

    choices = Choices(metric=chosen.metric, window_overlap=chosen.window_overlap)
    _tell(import_sentence_encoder(chosen.path, chosen.out, _declared(chosen), choices))


def _import_onnx(chosen: argparse.Namespace) -> None:
    from model_export.importing.onnx_files import import_onnx

    _tell(import_onnx(chosen.path, chosen.spec, chosen.out, chosen.reference))


def _import_timm(chosen: argparse.Namespace) -> None:
    from model_export.importing.timm_backbones import import_timm

    _tell(import_timm(chosen.path, chosen.pretrained, chosen.out, _declared(chosen)))


def _declared(chosen: argparse.Namespace) -> Declared:
    from model_export.importing.declaring import Declared

    return Declared(**{field.name: getattr(chosen, field.name) for field in fields(Declared)})


def _tell(folder: Path) -> None:
    print(f"wrote {folder}; its verdicts are undetermined, reason uncalibrated, until it is calibrated:")
    print(f"  python -m model_export calibrate {folder} --pairs FILE")
