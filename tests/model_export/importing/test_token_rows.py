"""Layers written as rows of tokens: the library's own numbers, and fewer steps once ONNX Runtime has optimised them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaModel, XLMRobertaModel

from model_export.graphs import export_torch, strip_metadata
from model_export.importing.sentence_directories import Sentences, load_model, transformer_of
from model_export.importing.token_rows import TokenRows, copy_for_export, write_as_rows
from tests.model_export.importing.optimised import count_operators
from tests.model_export.importing.tiny_sentences import write_sentence_encoder

LAYERS = 2
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "attn_implementation": "eager",
}


class LastState(torch.nn.Module):
    """What an import asks of a transformer."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        state: torch.Tensor = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        return state


def make(kind: Any = BertModel, **options: Any) -> Any:
    """A model with random weights, biases too: they begin at 0, which would hide one that is left out."""
    torch.manual_seed(5)
    made = kind(kind.config_class(**SIZES | options)).eval()
    with torch.no_grad():
        for weight in (one for one in made.parameters() if one.ndim == 1):
            weight.add_(0.1 * torch.randn_like(weight))
    return made


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of texts of 7, 4 and 1 tokens, padded to 7."""
    mask = (torch.arange(7) < torch.tensor([[7], [4], [1]])).long()
    return torch.randint(3, 50, (3, 7), generator=torch.Generator().manual_seed(1)) * mask, mask


def optimised(transformer: torch.nn.Module, folder: Path) -> Counter[str]:
    """How many operators of each kind ONNX Runtime runs of its graph."""
    ids, mask = texts()
    axes = {0: "batch", 1: "length"}
    graph = export_torch(LastState(transformer), {"ids": ids, "mask": mask}, {"ids": axes, "mask": axes})
    return count_operators(strip_metadata(graph).SerializeToString(), folder)


@pytest.mark.parametrize("kind", [BertModel, RobertaModel, XLMRobertaModel])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_last_states_of_padded_texts_are_the_librarys(kind: Any, activation: str) -> None:
    transformer = LastState(make(kind, hidden_act=activation, pad_token_id=1))
    ids, mask = texts()
    with torch.inference_mode():
        wanted = transformer(ids, mask)
        write_as_rows(transformer.transformer)
        got = transformer(ids, mask)
    assert isinstance(transformer.transformer.encoder, TokenRows)
    assert (got - wanted)[mask.bool()].abs().max() < 1e-5


def test_weights_stay_the_models_own() -> None:
    transformer = make()
    before = {weight.data_ptr() for weight in transformer.parameters()}
    write_as_rows(transformer)
    assert {weight.data_ptr() for weight in transformer.parameters()} == before


def test_other_models_are_left_as_they_are() -> None:
    distil = DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_layers=1, n_heads=4, hidden_dim=64))
    decoder = BertModel(BertConfig(**SIZES, is_decoder=True))
    for transformer in (distil, decoder):
        parts = list(map(id, transformer.modules()))
        write_as_rows(transformer)
        assert list(map(id, transformer.modules())) == parts


def test_a_copy_for_export_shares_its_weights_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = load_model(write_sentence_encoder(tmp_path))
    transformer = transformer_of(model).auto_model
    library = transformer.config._attn_implementation
    sentences = Sentences(model, unit=True).train()
    parts, weights = (
        [(name, id(one)) for name, one in named] for named in (sentences.named_modules(), sentences.named_parameters())
    )
    made = copy_for_export(sentences)
    written: Any = made.parts[0].auto_model
    assert isinstance(written.encoder, TokenRows)
    assert written.config._attn_implementation == "eager" != library
    assert {id(weight) for weight in made.parameters()} == {weight for _, weight in weights}
    made.eval()
    assert all(part.training for part in sentences.modules())
    assert transformer.config._attn_implementation == library
    assert [(name, id(part)) for name, part in sentences.named_modules()] == parts
    assert [(name, id(weight)) for name, weight in sentences.named_parameters()] == weights


def test_onnx_runtime_copies_no_heads_aside_and_adds_no_bias_in_a_pass_of_its_own(tmp_path: Path) -> None:
    transformer = make()
    library = optimised(transformer, tmp_path)
    write_as_rows(transformer)
    rows = optimised(transformer, tmp_path)
    assert library["BiasGelu"] == rows["Gelu"] == LAYERS
    assert rows["Gemm"] == 6 * LAYERS
    assert rows["FusedMatMul"] == 2 * LAYERS
    # sums back to rows and narrow products back from columns; the first rows, and the last, as (batch, length)
    assert rows["Transpose"] <= 2 * LAYERS + 2 < library["Transpose"]
    assert rows["Add"] <= library["Add"] - 5 * LAYERS
