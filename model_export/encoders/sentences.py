"""An encoder of sentence-transformers that goes on learning: the library is asked for only where a recipe names it.

A directory is read by the code that imports it (model_export/importing/sentence_directories.py), so that both prepare
texts alike and take and refuse the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from model_export.encoders import TwinEncoder
from model_export.errors import CommandError
from model_export.importing.sentence_directories import (
    Sentences,
    choose_metric,
    input_names,
    load_model,
    tell_origin,
    text_params,
    tokenizer_of,
    transformer_of,
)
from model_export.importing.token_rows import copy_for_export
from model_export.recipe import SentenceTransformersChoice


class SentenceEncoder(TwinEncoder):
    """Token ids, mask and, where the model takes them, types, int64 (batch, tokens) -> float32 (batch, dimension)."""

    def __init__(self, model: SentenceTransformer, *, frozen_layers: int | None) -> None:
        super().__init__()
        self.inputs = input_names(model)
        transformer_of(model).auto_model.set_attn_implementation("eager")  # as it is exported
        if frozen_layers is not None:
            _freeze(transformer_of(model).auto_model, frozen_layers)
        self.sentences = Sentences(model, unit=False)

    def for_export(self) -> SentenceEncoder:
        """With its layers as an import writes them."""
        return copy_for_export(self)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor | None = None) -> torch.Tensor:
        """What the graph gives, and what is trained."""
        return self.finish(self.sentences(ids, mask, types))


@dataclass(frozen=True, slots=True)
class Directory:
    """What a directory says of itself: params of the modality text, tokenizer.json, and its origin in words."""

    params: dict[str, Any]
    tokenizer: bytes
    origin: str


def make_sentence_encoder(folder: Path, choice: SentenceTransformersChoice) -> TwinEncoder:
    """The encoder with the directory's weights, to be trained on. Raises CommandError as read_directory does."""
    return SentenceEncoder(load_model(folder), frozen_layers=choice.frozen_layers).train()


def read_directory(folder: Path, choice: SentenceTransformersChoice, given: dict[str, Any]) -> Directory:
    """What the directory says, where that agrees with a recipe's encoder and the modality params `given` in it.

    How long texts are taken is the recipe's to say. Raises CommandError for a directory that cannot be imported, or is
    not what the recipe says.
    """
    model = load_model(folder)
    metric, unit = choose_metric(model, choice.metric if "normalise" in choice.model_fields_set else None)
    if metric != choice.metric:
        raise CommandError(f"encoder.normalise: {folder} compares by {metric}; give normalise, true for cosine")
    if choice.dimension != (own := model.get_embedding_dimension()):
        raise CommandError(f"encoder.dimension: {choice.dimension} here, and vectors of {folder} have {own}")
    params = text_params(model, input_names(model), given.get("window_overlap"))
    for name, value in given.items():
        if params.get(name) != value:
            own = params.get(name)
            raise CommandError(f"modality.params.{name}: {value!r} here, and {folder} says {own!r}; leave it out")
    SentenceEncoder(model, frozen_layers=choice.frozen_layers)  # whether it can be made
    return Directory(params, tokenizer_of(model), tell_origin(folder, model, unit))


def _freeze(transformer: Any, layers: int) -> None:
    """Keep training from the embeddings and the first `layers` layers. Raises CommandError where none is left."""
    count = transformer.config.num_hidden_layers
    if layers >= count:
        raise CommandError(f"encoder.frozen_layers: {layers} leaves none of the {count} layers to train")
    stacks = (part for part in transformer.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    embeddings = getattr(transformer, "embeddings", None) or transformer.get_input_embeddings()
    for part in (embeddings, *next(stacks)[:layers]):
        part.requires_grad_(False)
