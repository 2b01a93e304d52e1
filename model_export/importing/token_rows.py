"""BERT's layers written for ONNX Runtime on CPU: the same sums, a row a token, in the order of fewest copies.

What the library exports keeps (batch, length, hidden) throughout. ONNX Runtime then copies each head's queries, keys,
values and sums aside, adds biases in passes of their own, and cannot use its faster GELU. With a row a token, those of
one place side by side, a product takes its bias along and heads are read where they lie. What was measured, and why
ONNX Runtime's own fused operators are not used, is in docs/decisions/0023-texts-run-as-rows-of-tokens.md.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from transformers import BertModel, RobertaModel, XLMRobertaModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

LIKE_BERT = (BertModel, RobertaModel, XLMRobertaModel)
"""Models whose layers are BERT's, and differ in their embeddings only."""

Module = TypeVar("Module", bound=nn.Module)


def copy_for_export(module: Module) -> Module:
    """A copy of modules of sentence-transformers, written as their graph is to be; they themselves stay as they are.

    The one place where an encoder is prepared for its export in float32, imported or fine-tuned. Weights are shared,
    not copied: they are what is large.
    """
    shared: dict[int, Any] = {id(one): one for one in (*module.parameters(), *module.buffers())}
    made = copy.deepcopy(module, shared)
    for part in [part for part in made.modules() if isinstance(part, Transformer)]:
        # Written out, attention gives the same numbers with fewer nodes.
        part.auto_model.set_attn_implementation("eager")
        write_as_rows(part.auto_model)
    return made


def write_as_rows(transformer: Any) -> None:
    """Replace the layers of an encoder like BERT, whose weights stay its own; any other model is left as it is.

    For export only: what is replaced gives the last hidden state and nothing else, and knows no dropout of attention.
    """
    if type(transformer) in LIKE_BERT and not transformer.config.is_decoder:
        transformer.encoder = TokenRows(transformer.encoder)


class TokenRows(nn.Module):
    """The layers of an encoder, called as its model calls it."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.layers = encoder.layer
        for layer in self.layers:
            layer.output.dense = WeightsFirst(layer.output.dense)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> Any:
        """Hidden states (batch, length, hidden), and what is added to scores, (batch, 1, length, length)."""
        batch, length, width = hidden.shape
        rows = hidden.transpose(0, 1).reshape(-1, width)
        for layer in self.layers:
            attended = _attend(layer.attention.self, rows, attention_mask, (batch, length))
            rows = layer.attention.output(attended, rows)
            rows = layer.output(layer.intermediate(rows), rows)
        last = rows.view(length, batch, width).transpose(0, 1)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=last)


class WeightsFirst(nn.Module):
    """A Linear as weights times columns of tokens, which waits less for memory than tokens times weights.

    It gains up to some 200 tokens, most with few, and costs a hundredth beyond. Only for a product with fewer outputs
    than inputs: they have to be turned back, and with more of them it costs more beyond than it gains.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(tokens, inputs) -> (tokens, outputs)."""
        return torch.addmm(self.bias[:, None], self.weight, rows.T).T


def _attend(part: Any, rows: torch.Tensor, mask: torch.Tensor | None, shape: tuple[int, int]) -> torch.Tensor:
    """Self-attention on rows (length x batch, hidden), `shape` being (batch, length); `mask` is added to scores."""
    batch, length = shape
    heads = (length, batch, part.num_attention_heads, part.attention_head_size)
    query, key, value = (project(rows).view(heads) for project in (part.query, part.key, part.value))
    scores = query.permute(1, 2, 0, 3) @ key.permute(1, 2, 3, 0) * part.scaling
    if mask is not None:
        scores = scores + mask
    attended: torch.Tensor = scores.softmax(dim=-1) @ value.permute(1, 2, 0, 3)
    return attended.permute(2, 0, 1, 3).reshape(rows.shape)
