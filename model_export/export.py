"""`export RUN`: the trained encoder as an ONNX graph in a bundle, published only if it reproduces the torch encoder.

Same checkpoint, same bytes: node metadata, which carries build paths, is stripped.
"""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from safetensors.torch import load_file

from app.core import modalities
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
from app.core.modalities.base import Item, Limits
from app.runtime.encoder import Encoder
from model_export.card import write_card
from model_export.drawings import probe_files
from model_export.encoders.convolutional import ConvolutionalEncoder
from model_export.errors import CommandError
from model_export.recipe import Recipe, read_recipe
from model_export.train import make_encoder

OPSET = 20
INPUT, OUTPUT = "pixels", "vectors"
PARITY = 1e-5
"""Largest difference in any component between torch and ONNX Runtime on the CPU: some tens of float32 steps."""
TOLERANCE = {CPU: 1e-4, CUDA: 1e-3}
"""What a start may differ by: other instruction sets and other convolution algorithms sum in another order."""


def export(run: Path, models: Path) -> Path:
    """Write the run's encoder as an uncalibrated bundle below `models` and return its folder.

    Raises CommandError where the graph does not reproduce the torch encoder; nothing is written then.
    """
    recipe = read_recipe(run / "recipe.toml")
    encoder = make_encoder(recipe)
    encoder.load_state_dict(load_file(run / "checkpoint.safetensors"))
    encoder.eval()
    modality = modalities.create(recipe.modality.name, recipe.modality.params, {})
    items: list[Item] = [{"bytes": data} for data in probe_files()]
    windows = [modality.prepare(item, Limits()).windows[0] for item in items]
    framework = _torch_embed(encoder, modality.collate(windows)[INPUT])
    draft = _draft(recipe, json.loads((run / "run.json").read_text("utf-8")))
    graph = to_onnx(encoder)
    # The serving encoder needs a bundle to say what it serves; what it gives then replaces `served`.
    golden = Golden(tuple(items), framework, framework, TOLERANCE, "training framework")
    served = _check_parity(Encoder(seal(draft, graph=graph, golden=golden), device="cpu", threads=1), encoder)
    bundle = seal(draft, graph=graph, golden=replace(golden, served=served))
    return write_bundle(models, bundle, {"MODEL_CARD.md": write_card(draft, None, "", [])})


def _draft(recipe: Recipe, facts: dict[str, object]) -> Draft:
    return Draft(
        name=recipe.name,
        version=recipe.version,
        status="demonstration",  # until calibrate has measured what it may claim
        relation=Relation(match_means=recipe.relation.match_means, **{"not": recipe.relation.not_}),
        modality=ModalityChoice(name=recipe.modality.name, params=recipe.modality.params),
        graph=Graph(inputs=(INPUT,), output=OUTPUT, precision="fp32", opset=OPSET),
        embedding=Embedding(dimension=recipe.encoder.dimension, normalized=True, metric="cosine"),
        numerics=Numerics(tf32=False, providers=tuple(TOLERANCE)),
        training=Training.model_validate(facts),
        licence=Licence(weights=recipe.weights_licence, data=recipe.data.licence),
        intended_use=recipe.intended_use,
    )


def to_onnx(encoder: ConvolutionalEncoder) -> bytes:
    """The encoder in eval mode as a self-contained ONNX graph with a dynamic batch axis."""
    example = torch.zeros((2, *encoder.input_shape), dtype=torch.uint8)
    # The exporter warns of its own parts: of calls that torch deprecated, and of torchvision, which nothing here uses.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        program = torch.onnx.export(
            encoder,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise CommandError("torch.onnx.export returned no program")
    graph: bytes = _strip_metadata(program.model_proto).SerializeToString(deterministic=True)
    return graph


def _strip_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what tells of the machine that exported: source paths, scopes, stack traces."""
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.value_info[:]
    return model


def _check_parity(serving: Encoder, encoder: ConvolutionalEncoder) -> npt.NDArray[np.float32]:
    """Run probes and random pixels through both; return the served embeddings of the probes, float32 (probes, d)."""
    golden = serving.bundle.golden
    served = serving.embed(golden.items, Limits())
    noise = np.random.default_rng(0).integers(0, 256, (33, *encoder.input_shape), dtype=np.uint8)
    noise_served = serving.encode([{INPUT: pixels} for pixels in noise])
    for name, got, wanted in (
        ("probes", served, golden.framework),
        ("noise", noise_served, _torch_embed(encoder, noise)),
    ):
        difference = float(np.abs(got - wanted).max())
        print(f"parity on {name}: largest difference {difference:.2e} (limit {PARITY:.0e})")
        if not difference <= PARITY:
            raise CommandError(
                f"the graph differs from the torch encoder by {difference:.2e} on {name}; nothing is written"
            )
    return served


def _torch_embed(encoder: ConvolutionalEncoder, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(encoder(torch.from_numpy(pixels)).numpy(), np.float32)
