"""A tiny real bundle, built by hand: 8x8 pictures, a fixed random projection to 16 numbers, honest evidence. No torch.

Its identities are synthetic patterns and its evidence is measured on them through the code that serves, so tests can
post genuine pairs (two variants of one identity) and impostor pairs (two identities) and meet the rates it states.
"""

from __future__ import annotations

import datetime
import functools
import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from app.core.bundle import (
    CPU,
    Bundle,
    Draft,
    Embedding,
    Golden,
    Graph,
    Licence,
    ModalityChoice,
    Numerics,
    Relation,
    Training,
    seal,
    write_bundle,
)
from app.core.evidence import (
    Calibration,
    Counts,
    GenuineScores,
    MeasuredWith,
    PairScores,
    Units,
    estimate,
    fit_together,
    verify,
)
from app.core.modalities.base import Limits
from app.core.scoring import similarity_matrix
from app.runtime.encoder import Encoder

SIDE, DIMENSION, SCALE, OPSET = 8, 16, 3, 13
UNITS, VARIANTS = 80, 3
"""80 identities give 3160 pairs of different ones, so that 3/P is below 1e-3."""
VERIFIED_FROM, OTHERS_FROM = 1000, 2000
"""Identities from 0 were calibrated on, from VERIFIED_FROM verified on; those from OTHERS_FROM never measured."""

Metric = Literal["cosine", "euclidean"]
Status = Literal["released", "demonstration"]
Rows = npt.NDArray[np.float32]

PARAMS: Mapping[str, Any] = {
    "mode": "L",
    "width": SIDE,
    "height": SIDE,
    "fit": "pad",
    "resample": "box",
    "antialias": True,
    "background": 255,
    "orientation": "exif",
    "sixteen_bit": "divide_257",
    "contrast": "none",
    "min_contrast": 16,
}


def tiny_pixels(identity: int, variant: int) -> npt.NDArray[np.uint8]:
    """The pattern of an identity with a variant's noise: uint8 (8, 8)."""
    pattern = np.random.default_rng([7, identity]).integers(0, 2, (SIDE, SIDE)) * 160 + 48
    noise = np.random.default_rng([7, identity, variant]).normal(0, 25, (SIDE, SIDE))
    return np.clip(np.rint(pattern + noise), 0, 255).astype(np.uint8)


def tiny_png(identity: int, variant: int) -> bytes:
    """A picture of an identity, 24x24 PNG: equal identities are genuine pairs, others impostor pairs."""
    pixels = np.kron(tiny_pixels(identity, variant), np.ones((SCALE, SCALE), dtype=np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def tiny_item(identity: int, variant: int) -> dict[str, Any]:
    """The same picture as an item in the engine's form."""
    return {"bytes": tiny_png(identity, variant)}


def projection() -> Rows:
    """The weights, float32 (64, 16)."""
    return np.random.default_rng(11).normal(0, 1 / SIDE, (SIDE * SIDE, DIMENSION)).astype(np.float32)


def tiny_graph(*, normalized: bool = True, half: bool = False) -> bytes:
    """The graph: pixels uint8 (batch, 8, 8, 1) to vectors float32 (batch, 16); L2 as y / sqrt(max(sum(y*y), 1e-12)).

    `half` multiplies in float16, and scales and normalises in float32, as a half encoder does.
    """
    constants: dict[str, npt.NDArray[Any]] = {
        "half": np.array(127.5, dtype=np.float32),
        "one": np.array(1.0, dtype=np.float32),
        "flat": np.array([-1, SIDE * SIDE], dtype=np.int64),
        "weights": projection().astype(np.float16) if half else projection(),
        "floor": np.array(1e-12, dtype=np.float32),
    }
    last = "raw" if normalized else "vectors"
    product = [helper.make_node("MatMul", ["rows", "weights"], [last])]
    if half:
        product = [
            helper.make_node("Cast", ["rows"], ["half_rows"], to=TensorProto.FLOAT16),
            helper.make_node("MatMul", ["half_rows", "weights"], ["half_raw"]),
            helper.make_node("Cast", ["half_raw"], [last], to=TensorProto.FLOAT),
        ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("Reshape", ["centred", "flat"], ["rows"]),
        *product,
    ]
    if normalized:
        nodes += [
            helper.make_node("ReduceSumSquare", ["raw"], ["squares"], axes=[1], keepdims=1),
            helper.make_node("Max", ["squares", "floor"], ["kept"]),
            helper.make_node("Sqrt", ["kept"], ["lengths"]),
            helper.make_node("Div", ["raw", "lengths"], ["vectors"]),
        ]
    else:
        del constants["floor"]
    return serialise(nodes, constants)


def serialise(nodes: list[onnx.NodeProto], constants: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """A model from nodes between `pixels` and `vectors`, of an opset and IR that older ONNX Runtimes take."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def tiny_draft(
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    status: Status = "released",
    metric: Metric = "cosine",
    **changes: Any,
) -> Draft:
    """The author's part of the manifest; `changes` replace whole fields."""
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "status": status,
        "relation": Relation.model_validate({"match_means": "of the same pattern", "not": "of the same noise"}),
        "modality": ModalityChoice(name="image", params=dict(PARAMS)),
        "graph": Graph(inputs=("pixels",), output="vectors", precision="fp32", opset=OPSET),
        "embedding": Embedding(dimension=DIMENSION, normalized=metric == "cosine", metric=metric),
        "numerics": Numerics(tf32=False, providers=(CPU,)),
        "training": Training(
            recipe=None, data="synthetic patterns", seed=11, library_versions={}, duration_seconds=0.0
        ),
        "licence": Licence(weights="Apache-2.0", data="drawn by tests/tiny.py"),
        "intended_use": "Testing Twinserve.",
    }
    return Draft.model_validate(fields | changes)


def reference_vectors(identities: range, *, normalized: bool) -> Rows:
    """What the encoder must give for variant 0 of each identity, in float64 numpy, rounded: float32 (n, 16)."""
    pixels = np.stack([tiny_pixels(identity, 0) for identity in identities]).reshape(len(identities), -1)
    rows = (pixels.astype(np.float64) / 127.5 - 1.0) @ projection().astype(np.float64)
    if normalized:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def make_tiny(
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    calibrated: bool = True,
    status: Status = "released",
    metric: Metric = "cosine",
    half: bool = False,
) -> Bundle:
    """The sealed bundle in memory; a half one has no evidence."""
    draft = tiny_draft(name=name, version=version, status=status, metric=metric)
    tolerance = {CPU: 1e-2 if half else 1e-5}
    if half:
        draft = draft.model_copy(update={"graph": draft.graph.model_copy(update={"precision": "fp16"})})
        assert not calibrated
    normalized, probes = metric == "cosine", range(4)
    framework = reference_vectors(probes, normalized=normalized)
    items = tuple(tiny_item(probe, 0) for probe in probes)
    golden = Golden(items, framework, framework, tolerance, "training framework")
    graph = tiny_graph(normalized=normalized, half=half)
    served = open_tiny(seal(draft, graph=graph, golden=golden)).embed(items, Limits())
    golden = Golden(items, framework, served, tolerance, "training framework")
    return seal(draft, graph=graph, golden=golden, calibration=tiny_calibration(metric) if calibrated else None)


def write_tiny(
    models: Path,
    *,
    name: str = "tiny",
    version: str = "1.0.0",
    calibrated: bool = True,
    status: Status = "released",
    metric: Metric = "cosine",
) -> Path:
    """Write the bundle as models/<name>/<version>/ and return that folder."""
    bundle = make_tiny(name=name, version=version, calibrated=calibrated, status=status, metric=metric)
    return write_bundle(models, bundle, {"MODEL_CARD.md": b"# tiny\n"})


def open_tiny(bundle: Bundle) -> Encoder:
    """An encoder for a tiny bundle, on one thread of the CPU."""
    return Encoder(bundle, device="cpu", threads=1)


@functools.cache
def tiny_calibration(metric: Metric = "cosine") -> Calibration:
    """Evidence measured on the synthetic identities through the encoder itself, verified on others. Computed once."""
    encoder = open_tiny(make_tiny(calibrated=False, metric=metric))
    rows = _embed(encoder, 0)
    one_by_one = np.concatenate([encoder.embed([tiny_item(0, variant)], Limits()) for variant in range(VARIANTS)])
    shift = np.abs(similarity_matrix(one_by_one, rows, metric) - similarity_matrix(rows[:VARIANTS], rows, metric)).max()
    genuine, impostors = _scores(rows, metric)
    estimated = estimate(
        Units(UNITS),
        genuine,
        {"random": impostors},
        {"random": "another pattern"},
        guard_band=max(1e-5, 4 * float(shift)),
        draws=1000,
        seed=1,
    )
    calibration = Calibration(
        id="tiny-1",
        population="synthetic 8x8 patterns with noise",
        unit="pattern",
        source="shipped",
        date=datetime.datetime.now(tz=datetime.UTC).date(),
        valid_for_days=3650,
        measured_with=MeasuredWith(provider=CPU, onnxruntime="any", tf32=False),
        counts=Counts(
            units=UNITS,
            genuine_units=UNITS,
            items=len(rows),
            genuine_pairs=len(genuine.score),
            impostor_pairs={"random": len(impostors.score)},
        ),
        failure_to_acquire={},
        applicability=fit_together([rows], np.repeat(np.arange(UNITS), VARIANTS), seed=1)[0],
        input_applicability=None,
        **estimated.members(),
    )
    genuine, impostors = _scores(_embed(encoder, VERIFIED_FROM), metric)
    return verify(calibration, Units(UNITS), genuine, {"random": impostors}, population="further such patterns", seed=2)


def _embed(encoder: Encoder, first: int) -> Rows:
    """All variants of UNITS identities: float32 (UNITS * VARIANTS, 16), identity by identity."""
    pairs = itertools.product(range(first, first + UNITS), range(VARIANTS))
    return encoder.embed([tiny_item(identity, variant) for identity, variant in pairs], Limits())


def _scores(rows: Rows, metric: Metric) -> tuple[GenuineScores, PairScores]:
    scores = similarity_matrix(rows, rows, metric)
    a, b = np.triu_indices(len(rows), k=1)
    unit_a, unit_b = a // VARIANTS, b // VARIANTS
    same = unit_a == unit_b
    return (
        GenuineScores(scores[a, b][same], unit_a[same]),
        PairScores(scores[a, b][~same], unit_a[~same], unit_b[~same]),
    )
