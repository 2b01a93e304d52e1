"""`quantize BUNDLE --precision fp16|int8`: the same encoder in less precision, as a bundle of its own.

Published only if its graph still does what the original does, loses no more than gate.py allows against the fp32 bundle
on the same comparisons, and has evidence of its own.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from app.core.bundle import CPU, CUDA, Bundle, Draft, Golden, Graph, Numerics, Training, seal, write_bundle
from app.core.bundle.manifest import NAME_REGEX
from app.core.errors import TwinserveError
from app.core.modalities.base import Array, Limits
from app.runtime.encoder import Encoder
from model_export.card import markdown_table, write_card
from model_export.errors import CommandError
from model_export.importing.publishing import TOLERANCE
from model_export.importing.reading import opset_of
from model_export.pairs import Words
from model_export.precisions.eight_bits import to_int8
from model_export.precisions.facts import cost_table, describe_graph
from model_export.precisions.gate import compare_precisions, loss_table
from model_export.precisions.measured import Measured, MeasuredPairs, MeasuredRecipe
from model_export.precisions.sources import half_graph
from model_export.report import Table
from model_export.subjects import LocalSubject

Precision = Literal["fp16", "int8"]

MOST_APART = {"fp16": 0.02, "int8": 0.25}
"""Largest distance between a golden item's vector and the framework's, as a share of its length. Measured on the
shipped bundles: at most 0.004 for fp16 and 0.09 for int8, while 8-bit products that overflow gave 0.15 to 1.1. It
catches a graph that is broken; what a sound one loses is for the gate to judge."""
HOW = {
    "static": "8-bit weights, static ranges",
    "dynamic": "8-bit weights, dynamic ranges",
    "weights": "weights stored in 8 bits, calculated with in float32",
}
PROVIDERS = {"fp16": (CPU, CUDA), "int8": (CPU,)}
"""ONNX Runtime's 8-bit kernels are of the CPU; on CUDA the graph would run as floats between roundings, and nothing
vouches for that."""


def quantize_recipe(
    folder: Path, precision: Precision, recipe: Path, models: Path, *, source: Path | None = None
) -> Path:
    """Write <name>-<precision> with evidence by the recipe below `models`; returns its folder.

    `source` is what fp16 is made from. Raises CommandError, with the figures, where the precision loses too much or its
    evidence does not hold; nothing is written then.
    """
    full = _open_full(folder, precision, source)
    return _quantize(full, precision, MeasuredRecipe(recipe), models, source)


def quantize_pairs(
    folder: Path, precision: Precision, pairs: Path, models: Path, words: Words, *, source: Path | None = None
) -> Path:
    """The same on a table of labelled pairs. Errors as above."""
    full = _open_full(folder, precision, source)
    return _quantize(full, precision, MeasuredPairs(pairs, full.modality.form, words), models, source)


def _open_full(folder: Path, precision: Precision, source: Path | None) -> Encoder:
    """The fp32 bundle. Raises CommandError for what cannot be quantised, before any long work."""
    encoder = LocalSubject(folder).encoder
    bundle = encoder.bundle
    if (found := bundle.manifest.graph.precision) != "fp32":
        raise CommandError(f"{bundle.key} is {found} already: give the fp32 bundle")
    if bundle.external_data is not None:
        raise CommandError(f"{bundle.key} keeps its weights outside the graph; such a bundle is not quantised")
    if not NAME_REGEX.match(f"{bundle.name}-{precision}"):
        raise CommandError(f"{bundle.name}-{precision}: a bundle's name has at most 64 characters")
    if precision == "fp16" and source is None:
        raise CommandError(
            "fp16 is made in the framework: name with --from the run folder, or the sentence-transformers directory, "
            "that this bundle was made from. Of a graph alone only int8 can be made"
        )
    if precision == "int8" and source is not None:
        raise CommandError("--from is for fp16: int8 is made from the bundle's own graph")
    return encoder


def _quantize(full: Encoder, precision: Precision, measured: Measured, models: Path, source: Path | None) -> Path:
    if source is not None:
        graph, how = half_graph(source, full.bundle), "weights and activations in float16"
    else:
        graph, how = _to_int8(full, measured)
    small = _open_small(full.bundle, precision, graph, how)
    print("\n".join(describe_graph(encoder.bundle) for encoder in (full, small)))
    _check_parity(small.bundle.golden, precision)
    _show(cost_table([full, small]))
    if precision == "fp16":
        print("\nfp16 is for CUDA: on the CPU, ONNX Runtime runs most of it in float32, and casts to and fro")
    losses = compare_precisions(measured.score(full), measured.score(small), draws=measured.draws, seed=measured.seed)
    _show(loss_table(losses, precision))
    if reasons := [reason for loss in losses for reason in loss.reasons]:
        raise CommandError(f"{precision} is refused and nothing is written: {'; '.join(reasons)}")
    print()
    with tempfile.TemporaryDirectory() as waiting:  # until it has its evidence
        card = write_card(small.bundle.manifest, None, "", [])
        return measured.calibrate(write_bundle(Path(waiting), small.bundle, {"MODEL_CARD.md": card}), models)


def _to_int8(full: Encoder, measured: Measured) -> tuple[bytes, str]:
    """The 8-bit graph, and in words how it was made."""

    def feeds() -> list[dict[str, Array]]:
        taken: list[dict[str, Array]] = []
        items = measured.range_items()
        for item in items:
            with suppress(TwinserveError):  # an item that the service would refuse shows nothing
                taken += [full.modality.collate([window]) for window in full.prepare(item, Limits()).windows]
        if not taken:
            raise CommandError("int8: there is no item that could show the ranges of activations")
        print(f"ranges of activations: {len(taken)} windows of {len(items)} items")
        return taken

    graph, method = to_int8(full.bundle.graph, feeds)
    return graph, HOW[method]


def _open_small(bundle: Bundle, precision: Precision, graph: bytes, how: str) -> Encoder:
    """The bundle of the graph, without evidence. Its `framework` vectors stay those of the original."""
    draft = _draft(bundle, precision, opset_of(onnx.load_from_string(graph)), how)
    tolerance = {name: TOLERANCE[precision][name] for name in PROVIDERS[precision]}
    golden = replace(bundle.golden, tolerance=tolerance)
    # The serving encoder needs a bundle to say what it serves; what it gives then replaces `served`.
    serving = Encoder(seal(draft, graph=graph, golden=golden, assets=bundle.assets), device="cpu", threads=1)
    golden = replace(golden, served=serving.embed(golden.items, Limits()))
    return Encoder(seal(draft, graph=graph, golden=golden, assets=bundle.assets), device="cpu", threads=1)


def _draft(bundle: Bundle, precision: Precision, opset: int, how: str) -> Draft:
    manifest = bundle.manifest
    graph, training = manifest.graph, manifest.training
    libraries = {"onnxruntime": version("onnxruntime"), "onnx": version("onnx")}
    return manifest.draft(
        name=f"{bundle.name}-{precision}",
        status="demonstration",  # until it is calibrated
        graph=Graph(inputs=graph.inputs, output=graph.output, precision=precision, opset=opset),
        numerics=Numerics(tf32=False, providers=PROVIDERS[precision]),
        training=Training(
            recipe=training.recipe,
            data=f"{training.data}; {precision} of {bundle.key}: {how}",
            seed=training.seed,
            library_versions=training.library_versions | libraries,
            duration_seconds=training.duration_seconds,
        ),
    )


def _check_parity(golden: Golden, precision: Precision) -> None:
    """Print and judge the largest distance from the framework. Raises CommandError beyond MOST_APART."""
    lengths = np.linalg.norm(golden.framework, axis=1)
    apart = float((np.linalg.norm(golden.served - golden.framework, axis=1) / np.maximum(lengths, 1e-12)).max())
    most = MOST_APART[precision]
    print(f"parity with the framework: largest distance {apart:.1e} of a vector's length (limit {most})")
    if not apart <= most:
        raise CommandError(
            f"{precision} is refused and nothing is written: a golden vector is {apart:.2g} of its length away from "
            f"the framework's, allowed is {most}"
        )


def _show(table: Table) -> None:
    heading, rows = table
    print("\n".join([f"\n{heading}\n", *markdown_table(rows)]))
