"""`import onnx`: an ONNX file and a spec of what it takes, as a bundle.

The original is the file's own graph, run one item at a time on what numpy prepares by the spec. Whether that is the
preparation that the encoder was trained with, only reference vectors of its owner can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from app.core import modalities
from app.core.bundle import CPU, CUDA, Draft
from app.core.bundle.manifest import sha256_hex
from app.core.modalities.base import Array, Limits, Window
from app.runtime.encoder import UNIT_TOLERANCE, Encoder
from model_export.errors import CommandError
from model_export.importing.culprits import Trial, check_reference
from model_export.importing.declaring import make_draft
from model_export.importing.foreign import (
    MASKS,
    Feed,
    Original,
    fixed_batch,
    match_inputs,
    open_original,
    output_of,
    padded,
)
from model_export.importing.onnx_spec import Spec, read_assets, read_spec
from model_export.importing.publishing import PARITY, Rows, check_free, compare, publish
from model_export.importing.reading import opset_of, precision_of, read_graph
from model_export.importing.reference import draw_reference, read_reference
from model_export.importing.wrapping import wrap

NOISE = 9
"""Windows of noise that are compared besides the items: as a batch they are cut into 8 and 1."""


def import_onnx(path: Path, spec_path: Path, models: Path, reference_path: Path | None = None) -> Path:
    """Write the bundle of a file and return its folder. Raises CommandError; nothing is written then.

    `reference_path` names reference vectors in place of those that the spec names.
    """
    spec = read_spec(spec_path)
    if reference_path is None and spec.reference is not None:
        reference_path = spec_path.parent / spec.reference
    check_free(models, spec.name, spec.version)
    model = read_graph(path)
    assets = read_assets(spec, spec_path.parent)
    modality = modalities.create(spec.modality.name, spec.modality.params, assets)
    examples = modality.examples()
    feeds = match_inputs(model, spec.graph, tuple(examples[0]))
    _check_scaling(spec, feeds)
    output = output_of(model, spec.graph)
    session = open_original(model)
    original = Original(session, spec.graph, feeds, output)
    for window in examples:
        original.embed([window])  # refuses a length that the graph does not take
    limit = PARITY[precision_of(model)]
    if reference_path is None:
        print("no reference vectors: the preparation is unverified, and /models says so")
        reference = draw_reference(original, modality, limit, cosine=spec.graph.metric == "cosine")
    else:
        reference = read_reference(reference_path, spec, limit)
        check_reference(Trial(model, session, assets, reference), spec)
    windows = [window for item in reference.items for window in modality.prepare(item, Limits()).windows]
    windows += _noise(examples)
    inputs = padded(windows, modality.collate)
    wanted = original.embed(inputs)
    _check_lengths(spec, wanted)
    draft = _draft(spec, path, model, tuple(examples[0]), wanted.shape[1])
    loop = _loop(original, feeds, inputs, limit)

    def compare_windows(encoder: Encoder) -> None:
        got = encoder.encode(windows)
        compare("the file's own graph, one by one", got, wanted, limit)

    wrapped = wrap(model, spec.graph, feeds, output, examples=examples, loop=loop)
    return publish(models, draft, wrapped, assets=assets, reference=reference, further=compare_windows)


def _draft(spec: Spec, path: Path, model: onnx.ModelProto, inputs: tuple[str, ...], dimension: int) -> Draft:
    return make_draft(
        spec.declared,
        name=spec.name,
        modality=spec.modality.name,
        params=spec.modality.params,
        inputs=inputs,
        opset=opset_of(model),
        dimension=dimension,
        metric=spec.graph.metric,
        normalized=spec.graph.metric == "cosine",
        origin=f"imported from {path.name} (sha256 {sha256_hex(path.read_bytes())}); origin: {spec.origin}",
        providers=(CPU, CUDA),
        libraries=("onnx", "onnxruntime"),
        precision=precision_of(model),
    )


def _check_scaling(spec: Spec, feeds: Sequence[Feed]) -> None:
    pixels = spec.graph.pixels
    if pixels is None:
        return
    if feeds[0].dtype.kind != "f" and (pixels.mean != 0.0 or pixels.scale != 1.0):
        raise CommandError("graph.pixels: the file's graph takes whole numbers, so leave mean and scale out")
    channels = 1 if spec.modality.params.get("mode") == "L" else 3
    if pixels.channels == "bgr" and channels == 1:
        raise CommandError("graph.pixels.channels: bgr is for mode RGB")
    for name, numbers in (("mean", pixels.mean), ("scale", pixels.scale)):
        if isinstance(numbers, tuple) and len(numbers) not in (1, channels):
            raise CommandError(f"graph.pixels.{name}: has {len(numbers)} numbers for {channels} channels")


def _check_lengths(spec: Spec, rows: Rows) -> None:
    if not np.isfinite(rows).all():
        raise CommandError("the file's graph gives numbers that are not finite")
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if spec.graph.metric == "cosine" and np.abs(lengths - 1).max() > UNIT_TOLERANCE:
        raise CommandError(
            f"graph.normalise: the file's vectors have lengths from {lengths.min():.3g} to {lengths.max():.3g}, and "
            "cosine needs 1: set it to true"
        )


def _loop(original: Original, feeds: Sequence[Feed], inputs: Sequence[Any], limit: float) -> int | None:
    """The batch size that must be looped over: the one that is declared, or 1 where a declared freedom is none."""
    size = fixed_batch(feeds)
    if size is not None:
        print(f"the graph takes batches of {size} only: it is looped over the batch")
        return size
    pair = next((list(two) for two in combinations(inputs, 2) if _shapes(two[0]) == _shapes(two[1])), [inputs[0]] * 2)
    alone = np.concatenate([original.give([one]) for one in pair])
    try:
        together = original.give(pair)
    except CommandError:
        together = np.empty(0, np.float32)
    if together.shape == alone.shape and np.abs(together - alone).max() <= limit * max(1.0, np.abs(alone).max()):
        return None
    print("the graph says that it takes any batch, but two at once fail or differ: it is looped over the batch")
    return 1


def _shapes(window: dict[str, Array]) -> list[tuple[int, ...]]:
    return [array.shape for array in window.values()]


def _noise(examples: Sequence[Window]) -> list[Window]:
    """Windows of random pixels or numbers in the shapes of the examples; none for token ids, which are no numbers."""
    rng = np.random.default_rng(0)
    if any(array.dtype == np.int64 for array in examples[0].values()):
        return []
    made: list[Window] = []
    for place in range(max(NOISE, len(examples))):
        window = dict(examples[place % len(examples)])
        for name, array in window.items():
            if array.dtype == np.uint8:
                window[name] = rng.integers(0, 256, array.shape, dtype=np.uint8)
            elif name not in MASKS:
                window[name] = rng.standard_normal(array.shape).astype(array.dtype)
        made.append(window)
    return made
