"""Twin encoders: one torch module, shared weights, both inputs through it. One file an architecture.

An encoder takes the arrays that a modality prepares, scales them itself, and returns unit vectors (batch, dimension),
so that the exported graph holds everything after preparation.
"""

from __future__ import annotations

import torch


def l2_normalize(vectors: torch.Tensor) -> torch.Tensor:
    """Scale rows to unit length, float32 (batch, dimension) -> the same.

    Written out, not F.normalize: ONNX Runtime's quantisation tools cannot follow the latter's graph.
    """
    squares = (vectors * vectors).sum(dim=-1, keepdim=True)
    return vectors * torch.rsqrt(torch.clamp_min(squares, 1e-12))
