"""`export RUN`: the trained encoder as an ONNX graph in a bundle, published only if it reproduces the torch encoder.

Same checkpoint, same bytes: node metadata, which carries build paths, is stripped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from app.core.bundle import (
    CPU,
    CUDA,
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
from app.core.modalities.base import Limits, Modality, Prepared, Window
from app.core.scoring import pool
from app.runtime.encoder import Encoder
from model_export.augment import Batch
from model_export.card import markdown_table, write_card
from model_export.encoders import TwinEncoder
from model_export.errors import CommandError
from model_export.graphs import OPSET, OUTPUT, export_torch, strip_metadata
from model_export.importing.publishing import usable
from model_export.precisions.facts import cost_table, describe_graph
from model_export.probes.choosing import probe_items
from model_export.recipe import ModalityChoice as RecipeModality
from model_export.recipe import Recipe, read_recipe
from model_export.training import make_modality, make_network
from model_export.training.run_folder import (
    RECIPE_FILE,
    WEIGHTS_FILE,
    choose_modality,
    load_weights,
    read_assets,
    read_facts,
)
from model_export.windows import stack_windows

PARITY = 1e-5
"""Largest difference in any component between torch and ONNX Runtime on the CPU: some tens of float32 steps.

Of unit vectors; of longer ones, times the largest component."""
TOLERANCE = {CPU: 1e-4, CUDA: 1e-3}
"""What a start may differ by: other instruction sets and other convolution algorithms sum in another order.

Of unit vectors, as above."""
NOISE_WINDOWS = 33


def export(run: Path, models: Path) -> Path:
    """Write the run's encoder as an uncalibrated bundle below `models` and return its folder.

    Raises CommandError where the graph does not reproduce the torch encoder; nothing is written then.
    """
    recipe = read_recipe(run / RECIPE_FILE)
    modality = make_modality(recipe, run)
    encoder, facts = read_run(run, make_network(recipe, modality, run))
    assets = read_assets(recipe, run)
    items = usable(modality, probe_items(modality))
    prepared = [modality.prepare(item, Limits()) for item in items]
    framework = torch_embed_prepared(encoder, prepared)
    draft = _draft(recipe, choose_modality(recipe, run), encoder.inputs, facts)
    graph = to_onnx(encoder.for_export(), modality)
    # The serving encoder needs a bundle to say what it serves; what it gives then replaces `served`.
    scale = max(1.0, float(np.abs(framework).max()))
    tolerance = {provider: limit * scale for provider, limit in TOLERANCE.items()}
    golden = Golden(tuple(items), framework, framework, tolerance, "training framework")
    serving = Encoder(seal(draft, graph=graph, golden=golden, assets=assets), device="cpu", threads=1)
    served = serving.embed(golden.items, Limits())
    _check_parity("probes", served, framework)
    noise = _noise([window for one in prepared for window in one.windows])
    _check_parity("noise", serving.encode(noise), _torch_embed(encoder, noise))
    bundle = seal(draft, graph=graph, golden=replace(golden, served=served), assets=assets)
    written = write_bundle(models, bundle, {"MODEL_CARD.md": write_card(draft, None, "", [])})
    heading, table = cost_table([serving])
    print("\n".join([describe_graph(bundle), f"\n{heading}\n", *markdown_table(table), ""]))
    return written


def read_run(run: Path, encoder: TwinEncoder) -> tuple[TwinEncoder, dict[str, object]]:
    """The trained encoder and the facts of its training. Raises CommandError for a damaged or half-written run."""
    load_weights(encoder, run / WEIGHTS_FILE)
    encoder.eval()
    return encoder, read_facts(run)


def _draft(recipe: Recipe, modality: RecipeModality, inputs: tuple[str, ...], facts: dict[str, object]) -> Draft:
    return Draft(
        name=recipe.name,
        version=recipe.version,
        status="demonstration",  # until calibrate has measured what it may claim
        relation=Relation(match_means=recipe.relation.match_means, **{"not": recipe.relation.not_}),
        modality=ModalityChoice(name=modality.name, params=modality.params),
        graph=Graph(inputs=inputs, output=OUTPUT, precision="fp32", opset=OPSET),
        embedding=Embedding(
            dimension=recipe.encoder.dimension, normalized=recipe.encoder.normalise, metric=recipe.encoder.metric
        ),
        numerics=Numerics(tf32=False, providers=tuple(TOLERANCE)),
        training=Training.model_validate(facts),
        licence=Licence(weights=recipe.weights_licence, data=recipe.data.licence),
        intended_use=recipe.intended_use,
    )


def to_onnx(encoder: TwinEncoder, modality: Modality) -> bytes:
    """The encoder in eval mode as a self-contained ONNX graph: any batch, and any length where lengths differ."""
    example = stack_windows([modality.examples()[-1]] * 2)
    sequence = len(encoder.inputs) > 1  # a mask beside the values tells that lengths differ
    axes = {0: "batch", 1: "steps"} if sequence else {0: "batch"}
    model = export_torch(encoder, {name: example[name] for name in encoder.inputs}, dict.fromkeys(encoder.inputs, axes))
    graph: bytes = strip_metadata(model).SerializeToString(deterministic=True)
    return graph


def _check_parity(name: str, got: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> None:
    difference = float(np.abs(got - wanted).max())
    limit = PARITY * max(1.0, float(np.abs(wanted).max()))
    print(f"parity on {name}: largest difference {difference:.2e} (limit {limit:.0e})")
    if not difference <= limit:
        raise CommandError(
            f"the graph differs from the torch encoder by {difference:.2e} on {name}; nothing is written"
        )


def _noise(windows: Sequence[Window]) -> list[Window]:
    """Windows like those given, their values drawn anew: what no probe shows must be reproduced too."""
    rng = np.random.default_rng(0)

    def draw(name: str, like: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        if name.endswith("mask"):
            return like
        if np.issubdtype(like.dtype, np.floating):
            return rng.normal(size=like.shape).astype(like.dtype)
        known = np.concatenate([window[name].ravel() for window in windows])
        return np.asarray(rng.choice(known, like.shape))

    chosen = [windows[place % len(windows)] for place in range(NOISE_WINDOWS)]
    return [{name: draw(name, like) for name, like in window.items()} for window in chosen]


def torch_embed_prepared(encoder: TwinEncoder, items: Sequence[Prepared]) -> npt.NDArray[np.float32]:
    """Each item alone and unpadded, its windows pooled: float32 (items, d)."""
    rows = [np.concatenate([_torch_embed(encoder, [window]) for window in item.windows]) for item in items]
    return np.stack([row[0] if len(row) == 1 else pool(row, encoder.normalise) for row in rows])


def _torch_embed(encoder: TwinEncoder, windows: Sequence[Window]) -> npt.NDArray[np.float32]:
    batch: Batch = stack_windows(windows)
    with torch.inference_mode():
        return np.asarray(encoder(*(batch[name] for name in encoder.inputs)).numpy(), np.float32)
