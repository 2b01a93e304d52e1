"""BERT's layers written for ONNX Runtime on CPU: the same sums, a row a token, in the order of fewest copies.

What the library exports keeps (batch, length, hidden) throughout. Then ONNX Runtime copies each head's queries, keys,
values and sums aside, adds every bias in a pass of its own, and cannot use its faster GELU. With one row a token, tokens
of one place side by side, a product takes its bias along and heads are read where they lie. What was measured, and
why ONNX Runtime's own fused operators are not used, is in docs/decisions/0023-texts-run-as-rows-of-tokens.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import BertModel
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions


def write_as_rows(transformer: nn.Module) -> None:
    """Replace the layers of a plain BERT encoder, whose weights stay its own; any other model is left as it is.

    For export only: what is replaced gives the last hidden state and nothing else.
    """
    if type(transformer) is BertModel and not transformer.config.is_decoder:
        transformer.encoder = TokenRows(transformer.encoder)


class TokenRows(nn.Module):
    """The layers of a BertEncoder, called as BertModel calls it."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.layers = encoder.layer
        for layer in self.layers:
            layer.output.dense = WeightsFirst(layer.output.dense)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> Any:
        """Hidden states (batch, length, hidden), and what to add to scores, (batch, 1, length, length)."""
        batch, length, width = hidden.shape
        rows = hidden.transpose(0, 1).reshape(-1, width)
        for layer in self.layers:
            attended = _attend(layer.attention.self, rows, attention_mask, batch, length)
            rows = layer.attention.output(attended, rows)
            rows = layer.output(layer.intermediate(rows), rows)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=rows.view(length, batch, width).transpose(0, 1))


class WeightsFirst(nn.Module):
    """A Linear as weights times columns of tokens: for few tokens faster than tokens times weights.

    ONNX Runtime then reads the weights in step with multiplying, where else each block of them is waited for. It pays
    where a product has more inputs than outputs: few columns are turned back.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(tokens, inputs) -> (tokens, outputs)."""
        return torch.addmm(self.bias[:, None], self.weight, rows.T).T


def _attend(part: Any, rows: torch.Tensor, mask: torch.Tensor | None, batch: int, length: int) -> torch.Tensor:
    """A BertSelfAttention on rows (length x batch, hidden), those of one place side by side."""
    heads, size = part.num_attention_heads, part.attention_head_size
    query, key, value = (
        project(rows).view(length, batch, heads, size) for project in (part.query, part.key, part.value)
    )
    scores = query.permute(1, 2, 0, 3) @ key.permute(1, 2, 3, 0) / math.sqrt(size)
    if mask is not None:
        scores = scores + mask
    attended = scores.softmax(dim=-1) @ value.permute(1, 2, 0, 3)
    return attended.permute(2, 0, 1, 3).reshape(-1, heads * size)
