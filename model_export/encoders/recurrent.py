"""The recurrent encoder: a gated recurrent unit (Cho et al. 2014) read from left to right, mean over real steps.

One direction only: padding comes last, and the exporter's recurrent nodes take no sequence lengths, so that a second
direction would read the padding first.
"""

from __future__ import annotations

import torch
from torch import nn

from model_export.encoders import TwinEncoder, l2_normalize, masked_mean
from model_export.encoders.fronts import Front


class RecurrentEncoder(TwinEncoder):
    """What the front takes -> float32 unit vectors (batch, dimension)."""

    def __init__(self, *, front: Front, hidden: int, layers: int, dropout: float, dimension: int) -> None:
        super().__init__()
        self.inputs = front.inputs
        self.front = front
        self.before = nn.Linear(front.width, hidden)
        self.drop = nn.Dropout(dropout)
        self.cells = nn.ModuleList(nn.GRU(hidden, hidden, batch_first=True) for _ in range(layers))
        self.head = nn.Linear(hidden, dimension)

    def forward(self, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The graph that is exported."""
        steps, real = self.front(values, mask)
        steps = torch.relu(self.before(self.drop(steps)))
        for cell in self.cells:
            assert isinstance(cell, nn.GRU)  # a ModuleList forgets what it holds
            steps = self.drop(_onnx_gru(cell, steps) if torch.onnx.is_in_onnx_export() else cell(steps)[0])
        return l2_normalize(self.head(masked_mean(steps, real)))


def _onnx_gru(cell: nn.GRU, steps: torch.Tensor) -> torch.Tensor:
    """ONNX's own GRU node on the cell's weights: float32 (batch, steps, width) -> (batch, steps, hidden).

    The exporter would unroll the cell into as many copies as the example has steps. ONNX orders the gates update,
    reset, new, torch reset, update, new; https://onnx.ai/onnx/operators/onnx__GRU.html.
    """
    size = cell.hidden_size
    weights = [getattr(cell, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    ordered = [torch.cat([rows[size : 2 * size], rows[:size], rows[2 * size :]]) for rows in weights]
    inputs = (
        steps.transpose(0, 1),
        ordered[0].unsqueeze(0),
        ordered[1].unsqueeze(0),
        torch.cat(ordered[2:]).unsqueeze(0),
    )
    outputs: torch.Tensor = torch.onnx.ops.symbolic(
        "GRU",
        inputs,
        attrs={"hidden_size": size, "linear_before_reset": 1},
        dtype=steps.dtype,
        shape=(steps.shape[1], 1, steps.shape[0], size),
    )
    return outputs.squeeze(1).transpose(0, 1)
