"""The recurrent encoder: a gated recurrent unit (Cho et al. 2014) or a long short-term memory (Hochreiter and
Schmidhuber 1997, with the forget gate of Gers et al. 2000), read from left to right, mean over real steps.

One direction only: padding comes last, and the exporter's recurrent nodes take no sequence lengths, so that a second
direction would read the padding first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from model_export.encoders import TwinEncoder, masked_mean
from model_export.encoders.fronts import Front

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}
ONNX_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""Where torch keeps the gates in the order that ONNX has them: update, reset, new of torch's reset, update, new; and
input, output, forget, cell of torch's input, forget, cell, output.
"""


class RecurrentEncoder(TwinEncoder):
    """What the front takes -> float32 (batch, dimension). `cell` is gru or lstm."""

    def __init__(self, *, front: Front, cell: str, hidden: int, layers: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        self.before = nn.Linear(front.width, hidden)
        self.drop = nn.Dropout(dropout)
        self.cells = nn.ModuleList(CELLS[cell](hidden, hidden, batch_first=True) for _ in range(layers))
        self.head = nn.Linear(hidden, dimension)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        steps = torch.relu(self.before(self.drop(steps)))
        for cell in self.cells:
            assert isinstance(cell, nn.GRU | nn.LSTM)  # a ModuleList forgets what it holds
            steps = self.drop(_onnx_cell(cell, steps) if torch.onnx.is_in_onnx_export() else cell(steps)[0])
        return self.finish(self.head(masked_mean(steps, real)))


def _onnx_cell(cell: nn.GRU | nn.LSTM, steps: torch.Tensor) -> torch.Tensor:
    """ONNX's own node on the cell's weights: float32 (batch, steps, width) -> (batch, steps, hidden).

    The exporter would unroll the cell into as many copies as the example has steps. See
    https://onnx.ai/onnx/operators/onnx__GRU.html and onnx__LSTM.html for the order of the gates.
    """
    node = type(cell).__name__
    weights = [getattr(cell, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    ordered = [torch.cat([rows.chunk(len(ONNX_ORDER[node]))[gate] for gate in ONNX_ORDER[node]]) for rows in weights]
    inputs = (
        steps.transpose(0, 1),
        ordered[0].unsqueeze(0),
        ordered[1].unsqueeze(0),
        torch.cat(ordered[2:]).unsqueeze(0),
    )
    attributes: dict[str, Any] = {"hidden_size": cell.hidden_size}
    if node == "GRU":
        attributes["linear_before_reset"] = 1
    outputs: torch.Tensor = torch.onnx.ops.symbolic(
        node,
        inputs,
        attrs=attributes,
        dtype=steps.dtype,
        shape=(steps.shape[1], 1, steps.shape[0], cell.hidden_size),
    )
    return outputs.squeeze(1).transpose(0, 1)
