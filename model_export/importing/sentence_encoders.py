"""`import sentence-transformers`: a directory of that library as a bundle, its own encode() the original.

Transformer, pooling and normalisation become one graph; the tokenizer goes with it as the bundle's asset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from sentence_transformers import SentenceTransformer

from app.core import modalities
from app.core.bundle import CPU, CUDA, Bundle
from app.core.modalities.base import Item, Window
from app.core.modalities.text.params import IDS, MASK, TYPES
from app.runtime.encoder import Encoder
from model_export.graphs import OPSET, export_torch, strip_metadata
from model_export.importing.declaring import Declared, Metric, bundle_name, make_draft
from model_export.importing.publishing import PARITY, Reference, Rows, check_free, compare, publish, usable
from model_export.importing.sentence_directories import (
    TOKENIZER,
    Sentences,
    choose_metric,
    find_folder,
    input_names,
    load_model,
    normalises,
    read_card,
    tell_origin,
    text_params,
    tokenizer_of,
    transformer_of,
)
from model_export.importing.token_rows import copy_for_export
from model_export.precisions.half import check_finite
from model_export.probes import text

LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch", "onnx", "onnxscript")
RANDOM_SIZES, RANDOM_TOKENS = (9, 5, 2, 1), 4096
"""Batches of random tokens that are compared, one for each padded length, and the most tokens in one."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the importer decides where the directory does not: None takes what the library does."""

    metric: Metric | None = None
    window_overlap: int | None = None
    """Tokens that neighbouring windows of a long text share; None refuses long texts."""


def import_sentence_encoder(source: str, models: Path, declared: Declared, choices: Choices) -> Path:
    """Write the bundle of a directory, or of a name on the hub, and return its folder. Raises CommandError."""
    declared = replace(declared, name=declared.name or bundle_name(str(Path(source).resolve())))
    check_free(models, declared.name or "", declared.version)
    folder = find_folder(source)
    model = load_model(folder)
    metric, unit = choose_metric(model, choices.metric)
    names = input_names(model)
    params = text_params(model, names, choices.window_overlap)
    assets = {TOKENIZER: tokenizer_of(model)}
    modality = modalities.create("text", params, assets)
    items = usable(modality, _probes(params))
    framework = np.stack([_encode(model, item, unit) for item in items])
    sentences = Sentences(model, unit=unit).eval()
    batches = list(_random_batches(modality.params.lengths, names, model))  # type: ignore[attr-defined]
    wanted = np.concatenate([_run(sentences, modality.collate(batch)) for batch in batches])
    print(f"exporting {sum(weight.numel() for weight in sentences.parameters()) / 1e6:.1f} million weights to ONNX")
    graph = _export(copy_for_export(sentences), names)
    stated = _stated(folder, declared)
    draft = make_draft(
        stated,
        name=declared.name or "",
        modality="text",
        params=params,
        inputs=names,
        opset=OPSET,
        dimension=framework.shape[1],
        metric=metric,
        normalized=metric == "cosine",
        origin=f"imported from {tell_origin(folder, model, unit)}",
        providers=(CPU, CUDA),
        libraries=LIBRARIES,
    )

    def compare_random(encoder: Encoder) -> None:
        got = np.concatenate([encoder.encode(batch) for batch in batches])
        compare(f"{len(batches)} batches of random tokens", got, wanted, PARITY["fp32"])

    reference = Reference(items, framework, "training framework", PARITY["fp32"])
    return publish(models, draft, graph, assets=assets, reference=reference, further=compare_random)


def half_sentence_encoder(folder: Path, bundle: Bundle) -> tuple[Rows, Callable[[], bytes]]:
    """What the directory's own model gives for the golden items of a bundle imported from it, float32 (n, d), and what
    makes its graph with the transformer in float16. Raises CommandError.
    """
    model = load_model(folder)
    unit = bundle.manifest.embedding.normalized and not normalises(model)
    vectors = np.stack([_encode(model, item, unit) for item in bundle.golden.items])

    def make() -> bytes:
        transformer = transformer_of(model)
        transformer.auto_model.set_attn_implementation("eager")
        check_finite(transformer.half())
        graph = _export(Sentences(model, unit=unit).eval(), bundle.manifest.graph.inputs)
        made: bytes = strip_metadata(graph).SerializeToString(deterministic=True)
        return made

    return vectors, make


def _export(sentences: Sentences, names: Sequence[str]) -> onnx.ModelProto:
    """The modules as a graph of any batch and length."""
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}
    return export_torch(sentences, example, {name: {0: "batch", 1: "length"} for name in names})


def _probes(params: dict[str, Any]) -> list[Item]:
    """The sentences, and one for each prefix, all to be cut where they are long, as the library cuts them."""
    items = text.probe_items(params["max_tokens"], windowed=False, prefixes=params["prefixes"])
    return [{**item, "truncate": True} for item in items]


def _encode(model: SentenceTransformer, item: Item, unit: bool) -> Rows:
    """What the library gives for one text, by itself: float32 (d,). It cuts long texts as `truncate` does."""
    rows = model.encode(
        [item["text"]], prompt_name=item.get("prefix"), normalize_embeddings=unit, show_progress_bar=False
    )
    row: Rows = np.asarray(rows, np.float32)[0]
    return row


def _random_batches(lengths: Sequence[int], names: Sequence[str], model: SentenceTransformer) -> Iterator[list[Window]]:
    """For each padded length a batch of random tokens, of unequal lengths that pad to it."""
    rng = np.random.default_rng(0)
    words = transformer_of(model).config.vocab_size
    for place, length in enumerate(lengths):
        size = max(1, min(RANDOM_SIZES[place % len(RANDOM_SIZES)], RANDOM_TOKENS // length))
        shortest = lengths[place - 1] + 1 if place else 1
        batch: list[Window] = []
        for tokens in rng.integers(shortest, length + 1, size):
            rows = {IDS: rng.integers(0, words, tokens), MASK: np.ones(tokens, int), TYPES: np.zeros(tokens, int)}
            batch.append({name: rows[name].astype(np.int64) for name in names})
        yield batch


def _run(sentences: Sentences, arrays: dict[str, Any]) -> Rows:
    with torch.inference_mode():
        return np.asarray(sentences(*(torch.from_numpy(array) for array in arrays.values())).numpy(), np.float32)


def _stated(folder: Path, declared: Declared) -> Declared:
    """Fill in what README.md states of the weights' licence, where the command line says nothing."""
    licence = read_card(folder).get("license")
    if declared.weights_licence is None and isinstance(licence, str):
        return replace(declared, weights_licence=licence)
    return declared
